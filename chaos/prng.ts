/**
 * A small generator of random numbers (sfc32, 128 bits of state) that gives the same numbers for the same seed, so that a
 * failing run can be repeated. Not for secrets.
 */
export class Prng {
  readonly seed: string
  readonly #state: Uint32Array

  constructor(seed: string) {
    this.seed = seed
    this.#state = stateOf(seed)
    for (let round = 0; round < 16; round++) this.#nextU32()
  }

  /** Evenly from 0 to below 1. */
  next(): number {
    return this.#nextU32() / 0x1_0000_0000
  }

  /** A whole number, both bounds included. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.integer(0, items.length - 1)]
    if (item === undefined) throw new RangeError('nothing to pick from')
    return item
  }

  /** The same items in another order. */
  shuffled<T>(items: readonly T[]): T[] {
    return items
      .map((item) => ({ item, rank: this.next() }))
      .sort((one, other) => one.rank - other.rank)
      .map(({ item }) => item)
  }

  /** A stream of its own, which does not depend on how much was drawn from this one. */
  fork(label: string): Prng {
    return new Prng(`${this.seed}/${label}`)
  }

  #nextU32(): number {
    const [a = 0, b = 0, c = 0, counter = 0] = this.#state
    const sum = (a + b + counter) >>> 0
    this.#state[0] = b ^ (b >>> 9)
    this.#state[1] = c + (c << 3)
    this.#state[2] = ((c << 21) | (c >>> 11)) + sum
    this.#state[3] = counter + 1
    return sum
  }
}

/** FNV-1a over the text from four different beginnings. */
function stateOf(seed: string): Uint32Array {
  const state = new Uint32Array(4)
  for (let word = 0; word < 3; word++) {
    let hash = 0x811c9dc5 ^ Math.imul(word + 1, 0x9e3779b9)
    for (const byte of Buffer.from(seed)) hash = Math.imul(hash ^ byte, 0x01000193)
    state[word] = hash ^ (hash >>> 15)
  }
  state[3] = 1
  return state
}
