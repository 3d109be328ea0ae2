import { fork } from 'node:child_process'

export { flipBit } from '../../chaos/flip-bit.ts'

const STALL_MS = 20_000
const PAGE_BYTES = 4096
const META_BYTES = 24 + 136

/** xorshift32: the same numbers in every run. */
export function numbersFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** Bits of LMDB's file behind its two meta pages. */
export function pageBits(count: number, fileBytes: number, below: (limit: number) => number): number[] {
  return Array.from({ length: count }, () => (2 * PAGE_BYTES + below(fileBytes - 2 * PAGE_BYTES)) * 8 + below(8))
}

/** Bits of the two meta pages. */
export function metaBits(count: number, below: (limit: number) => number): number[] {
  return Array.from({ length: count }, () => (below(2) * PAGE_BYTES + below(META_BYTES)) * 8 + below(8))
}

export interface EndedReader {
  readonly bit: number
  readonly ended: string
}

/**
 * Runs `program` with `argv` and the bits, comma separated, behind it; it sends one result for each bit. One process for
 * as many bits as it survives: a damaged page may end or hang it, which serves nothing wrong, and is noted.
 */
export async function readFlippedCopies<Result extends { readonly bit: number }>(
  program: string,
  argv: readonly string[],
  bits: readonly number[],
): Promise<(Result | EndedReader)[]> {
  const outcomes: (Result | EndedReader)[] = []
  while (outcomes.length < bits.length) {
    const reader = fork(program, [...argv, bits.slice(outcomes.length).join(',')], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    let stall: NodeJS.Timeout | undefined
    const watch = () => {
      clearTimeout(stall)
      stall = setTimeout(() => reader.kill('SIGKILL'), STALL_MS)
    }
    watch()
    reader.on('message', (result: Result) => {
      outcomes.push(result)
      watch()
    })
    const ended = await new Promise<string>((resolve) =>
      reader.once('exit', (code, signal) => resolve(String(signal ?? code))),
    )
    clearTimeout(stall)
    const bit = bits[outcomes.length]
    if (bit !== undefined) outcomes.push({ bit, ended })
  }
  return outcomes
}
