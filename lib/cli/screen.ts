import { stripVTControlCharacters } from 'node:util'
import type { CliIo } from './io.ts'

const CLEAR_SCREEN = '\u001b[2J'
const CURSOR_HOME = '\u001b[H'
const CLEAR_REST_OF_LINE = '\u001b[K'
const CLEAR_BELOW = '\u001b[J'

/** Draws the same place again and again; on what is not a terminal, one picture after the other. */
export class Screen {
  readonly #io: CliIo
  #isClear = false

  constructor(io: CliIo) {
    this.#io = io
  }

  /** `text` is whole lines, each ended by a newline. */
  draw(text: string): void {
    if (!this.#io.isTty) {
      this.#io.stdout(`${text}\n`)
      return
    }
    const first = this.#isClear ? '' : CLEAR_SCREEN
    this.#isClear = true
    const lines = this.#fitting(text.split('\n').slice(0, -1))
    this.#io.stdout(
      `${first}${CURSOR_HOME}${lines.map((line) => `${line}${CLEAR_REST_OF_LINE}\n`).join('')}${CLEAR_BELOW}`,
    )
  }

  /** What scrolls would be drawn in another place the next time. */
  #fitting(lines: readonly string[]): readonly string[] {
    const { columns, rows } = this.#io
    let room = rows - 1
    const fitting: string[] = []
    for (const line of lines) {
      room -= Math.max(1, Math.ceil(stripVTControlCharacters(line).length / columns))
      if (room < 0) {
        const hidden = lines.length - fitting.length + 1
        return [...fitting.slice(0, -1), `and ${hidden} more lines: make the terminal larger`]
      }
      fitting.push(line)
    }
    return fitting
  }
}
