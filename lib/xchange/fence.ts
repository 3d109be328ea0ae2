import { LsxError } from '../runtime/index.ts'
import type { Table } from '../store/index.ts'

const KEY = 'generation'

/**
 * The highest LS generation that this node has accepted, across restarts: an LS that is older is refused. A damaged
 * record ends the start: to begin again at zero would let an older LS in.
 */
export class GenerationFence {
  readonly #table: Table<number>
  #highest: number

  constructor(table: Table<number>) {
    this.#table = table
    this.#highest = table.get(KEY) ?? 0
  }

  get highest(): number {
    return this.#highest
  }

  /** On disk when it returns; it happens once for each start of LS. Throws STALE_GENERATION when another LS was faster. */
  accept(generation: number): void {
    if (generation < this.#highest) throw new LsxError('STALE_GENERATION', 'a newer LS was accepted in the meantime')
    if (generation === this.#highest) return
    this.#table.putSync(KEY, generation)
    this.#highest = generation
  }
}

export function validateGeneration(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new LsxError('INTERNAL', 'the stored generation is no whole number')
  }
  return value
}
