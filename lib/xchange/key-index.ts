import { randomBytes } from 'node:crypto'

/** Where a key was last written: the position of its group, as two numbers. Neither half alone is unique. */
export interface Place {
  readonly high: number
  readonly low: number
}

/** 64 bits that stand for a key within one process. */
export interface KeyHash {
  readonly a: number
  readonly b: number
}

const SHARD_BITS = 8
const SHARDS = 1 << SHARD_BITS
const FIRST_SLOTS = 16
/** a, b, high, low */
const WORDS = 4
const NO_PLACES: readonly Place[] = []

/**
 * Which keys are known and where each was last written, for millions of keys in some 30 bytes each: hashes in place of the
 * keys. A match is only a hint: the group at the place says whether it holds the key. Different keys may share a hash, so
 * this is a collection of pairs of hash and place, in which a pair may stand twice.
 */
export class KeyIndex {
  /** Random: nobody can choose keys that collide. */
  readonly #seedA: number
  readonly #seedB: number
  readonly #shards = Array.from({ length: SHARDS }, () => new Shard())
  #size = 0

  constructor(seed: Buffer = randomBytes(8)) {
    this.#seedA = seed.readUInt32LE(0)
    this.#seedB = seed.readUInt32LE(4)
  }

  get size(): number {
    return this.#size
  }

  hashOf(key: string): KeyHash {
    let a = this.#seedA
    let b = this.#seedB
    for (let index = 0; index < key.length; index++) {
      const unit = key.charCodeAt(index)
      a = Math.imul(a ^ unit, 0x85eb_ca6b)
      a = (a << 13) | (a >>> 19)
      b = Math.imul(b ^ unit, 0xc2b2_ae35)
      b = (b << 15) | (b >>> 17)
    }
    return { a: mixed(a ^ b), b: mixed(b ^ Math.imul(a, 0x9e37_79b1)) }
  }

  add(hash: KeyHash, place: Place): void {
    this.#shardOf(hash).add(hash.a, hash.b, place.high, place.low)
    this.#size++
  }

  /** The places of all keys with this hash, as a rule none or one. */
  placesOf(hash: KeyHash): readonly Place[] {
    return this.#shardOf(hash).placesOf(hash.a, hash.b)
  }

  /** False when there is no such pair. */
  move(hash: KeyHash, from: Place, to: Place): boolean {
    return this.#shardOf(hash).move(hash.a, hash.b, from, to)
  }

  /** False when there is no such pair. */
  remove(hash: KeyHash, place: Place): boolean {
    if (!this.#shardOf(hash).remove(hash.a, hash.b, place)) return false
    this.#size--
    return true
  }

  #shardOf(hash: KeyHash): Shard {
    return this.#shards[hash.a & (SHARDS - 1)] as Shard
  }
}

/** Murmur3's last steps. */
function mixed(value: number): number {
  let hash = value ^ (value >>> 16)
  hash = Math.imul(hash, 0x85eb_ca6b)
  hash ^= hash >>> 13
  hash = Math.imul(hash, 0xc2b2_ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Open addressing with linear probing. Each shard grows by itself, so that no growth takes long. Place 0, 0 is no place. */
class Shard {
  #words = new Uint32Array(FIRST_SLOTS * WORDS)
  #mask = FIRST_SLOTS - 1
  #size = 0

  add(a: number, b: number, high: number, low: number): void {
    if ((this.#size + 1) * 4 > (this.#mask + 1) * 3) this.#grow()
    const words = this.#words
    let slot = b & this.#mask
    while (this.#isTaken(slot)) slot = (slot + 1) & this.#mask
    const at = slot * WORDS
    words[at] = a
    words[at + 1] = b
    words[at + 2] = high
    words[at + 3] = low
    this.#size++
  }

  placesOf(a: number, b: number): readonly Place[] {
    const words = this.#words
    let places: Place[] | undefined
    for (let slot = b & this.#mask; this.#isTaken(slot); slot = (slot + 1) & this.#mask) {
      const at = slot * WORDS
      if (words[at] !== a || words[at + 1] !== b) continue
      places ??= []
      places.push({ high: words[at + 2] as number, low: words[at + 3] as number })
    }
    return places ?? NO_PLACES
  }

  move(a: number, b: number, from: Place, to: Place): boolean {
    const slot = this.#slotOf(a, b, from)
    if (slot < 0) return false
    this.#words[slot * WORDS + 2] = to.high
    this.#words[slot * WORDS + 3] = to.low
    return true
  }

  remove(a: number, b: number, place: Place): boolean {
    let hole = this.#slotOf(a, b, place)
    if (hole < 0) return false
    const words = this.#words
    const mask = this.#mask
    // Those behind the hole move up, so that none is cut off from where its search begins.
    for (let slot = (hole + 1) & mask; this.#isTaken(slot); slot = (slot + 1) & mask) {
      const home = (words[slot * WORDS + 1] as number) & mask
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue
      words.copyWithin(hole * WORDS, slot * WORDS, (slot + 1) * WORDS)
      hole = slot
    }
    words.fill(0, hole * WORDS, (hole + 1) * WORDS)
    this.#size--
    return true
  }

  #slotOf(a: number, b: number, place: Place): number {
    const words = this.#words
    for (let slot = b & this.#mask; this.#isTaken(slot); slot = (slot + 1) & this.#mask) {
      const at = slot * WORDS
      if (words[at] === a && words[at + 1] === b && words[at + 2] === place.high && words[at + 3] === place.low)
        return slot
    }
    return -1
  }

  #isTaken(slot: number): boolean {
    return this.#words[slot * WORDS + 2] !== 0 || this.#words[slot * WORDS + 3] !== 0
  }

  #grow(): void {
    const before = this.#words
    this.#words = new Uint32Array(before.length * 2)
    this.#mask = this.#mask * 2 + 1
    this.#size = 0
    for (let at = 0; at < before.length; at += WORDS) {
      const high = before[at + 2] as number
      const low = before[at + 3] as number
      if (high !== 0 || low !== 0) this.add(before[at] as number, before[at + 1] as number, high, low)
    }
  }
}
