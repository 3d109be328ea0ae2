import { ResponseStatus } from '../frames/index.ts'
import type { Place } from './key-index.ts'
import type { KeyRecord } from './key-record.ts'
import type { StoredResponse } from './once-only.ts'

/*
 * What happened to keys in one moment, back to back; integers big endian.
 *
 *   begun     u8 1 | key | f64 atMs | digest 32
 *   finished  u8 2 | key | f64 atMs | digest 32 | place 8 | u8 status | u32 length, payload | u32 length + 1 or 0, meta
 *   released  u8 3 | key | place 8
 *
 * key is u8 length and that many bytes of UTF-8; place is where the key was written before.
 */
const BEGUN = 1
const FINISHED = 2
const RELEASED = 3
const DIGEST_BYTES = 32
const FIRST_BYTES = 8_192
const KEPT_BYTES = 262_144
/** Of an entry beside payload and meta: more than any has. */
const MOST_ENTRY_BYTES = 1 + (1 + 255) + 8 + DIGEST_BYTES + 8 + 1 + 4 + 4

export type KeyChange =
  | { readonly kind: 'begun'; readonly key: string; readonly record: KeyRecord }
  | { readonly kind: 'finished'; readonly key: string; readonly record: KeyRecord; readonly from: Place }
  | { readonly kind: 'released'; readonly key: string; readonly from: Place }

/** Writes groups, one after the other, in a buffer that serves them all. */
export class KeyGroupWriter {
  #bytes: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES)
  #length = 0
  #names: Buffer = Buffer.allocUnsafeSlow(FIRST_BYTES)
  #namesLength = 0
  #changes = 0

  get changes(): number {
    return this.#changes
  }

  get byteLength(): number {
    return this.#length
  }

  begun(key: string, { digest, atMs }: KeyRecord): void {
    const start = this.#startEntry(BEGUN, key, 0)
    this.#name(start)
    this.#length = this.#bytes.writeDoubleBE(atMs, this.#length)
    this.#append(digest)
  }

  finished(key: string, { digest, atMs }: KeyRecord, response: StoredResponse, from: Place): void {
    const { status, payload, meta } = response
    this.#startEntry(FINISHED, key, payload.length + (meta?.length ?? 0))
    this.#length = this.#bytes.writeDoubleBE(atMs, this.#length)
    this.#append(digest)
    this.#place(from)
    this.#bytes[this.#length++] = status
    this.#length = this.#bytes.writeUInt32BE(payload.length, this.#length)
    this.#append(payload)
    this.#length = this.#bytes.writeUInt32BE(meta === undefined ? 0 : meta.length + 1, this.#length)
    if (meta !== undefined) this.#append(meta)
  }

  released(key: string, from: Place): void {
    this.#startEntry(RELEASED, key, 0)
    this.#place(from)
  }

  /** The group, and the names of the keys that were begun in it, if any; empty afterwards. Valid until the next change. */
  take(): { readonly group: Buffer; readonly names: Buffer | undefined } {
    const group = this.#bytes.subarray(0, this.#length)
    const names = this.#namesLength === 0 ? undefined : this.#names.subarray(0, this.#namesLength)
    if (this.#bytes.length > KEPT_BYTES) this.#bytes = Buffer.allocUnsafeSlow(FIRST_BYTES)
    this.#length = 0
    this.#namesLength = 0
    this.#changes = 0
    return { group, names }
  }

  #startEntry(kind: number, key: string, extraBytes: number): number {
    const needed = this.#length + MOST_ENTRY_BYTES + extraBytes
    if (needed > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
      this.#bytes.copy(grown, 0, 0, this.#length)
      this.#bytes = grown
    }
    this.#changes++
    this.#bytes[this.#length++] = kind
    const start = this.#length++
    const keyBytes = this.#bytes.write(key, this.#length)
    this.#bytes[start] = keyBytes
    this.#length += keyBytes
    return start
  }

  #name(start: number): void {
    const bytes = this.#length - start
    if (this.#namesLength + bytes > this.#names.length) {
      const grown = Buffer.allocUnsafeSlow(this.#names.length * 2)
      this.#names.copy(grown, 0, 0, this.#namesLength)
      this.#names = grown
    }
    this.#bytes.copy(this.#names, this.#namesLength, start, this.#length)
    this.#namesLength += bytes
  }

  #append(bytes: Buffer): void {
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  #place({ high, low }: Place): void {
    this.#length = this.#bytes.writeUInt32BE(high, this.#length)
    this.#length = this.#bytes.writeUInt32BE(low, this.#length)
  }
}

/** Throws RangeError or TypeError for bytes that are no group: then they were not written by this code. */
export function* changesOf(group: Buffer): Generator<KeyChange> {
  let at = 0
  const take = (length: number): Buffer => {
    if (at + length > group.length) throw new RangeError('a group of keys is cut short')
    at += length
    return group.subarray(at - length, at)
  }
  const place = (): Place => ({ high: take(4).readUInt32BE(), low: take(4).readUInt32BE() })
  while (at < group.length) {
    const kind = take(1)[0]
    const key = take(take(1)[0] as number).toString()
    if (kind === RELEASED) {
      yield { kind: 'released', key, from: place() }
      continue
    }
    if (kind !== BEGUN && kind !== FINISHED) throw new TypeError('a group of keys holds an unknown change')
    const atMs = take(8).readDoubleBE()
    const digest = take(DIGEST_BYTES)
    if (kind === BEGUN) {
      yield { kind: 'begun', key, record: { digest, atMs } }
      continue
    }
    const from = place()
    const status = checkedStatus(take(1)[0])
    const payload = take(take(4).readUInt32BE())
    const metaLength = take(4).readUInt32BE()
    const meta = metaLength === 0 ? undefined : take(metaLength - 1)
    yield { kind: 'finished', key, record: { digest, atMs, response: { status, payload, meta } }, from }
  }
}

/** The keys that were begun in a group. */
export function keysOf(names: Buffer): string[] {
  const keys: string[] = []
  for (let at = 0; at < names.length; ) {
    const start = at + 1
    at = start + (names[at] as number)
    keys.push(names.toString('utf8', start, at))
  }
  return keys
}

/** What the group says last of a key; undefined when it says nothing, or that it was released. */
export function recordIn(group: Buffer, key: string): KeyRecord | undefined {
  let record: KeyRecord | undefined
  for (const change of changesOf(group)) {
    if (change.key === key) record = change.kind === 'released' ? undefined : change.record
  }
  return record
}

function checkedStatus(status: number | undefined): ResponseStatus {
  for (const known of Object.values(ResponseStatus)) if (known === status) return known
  throw new TypeError('a group of keys holds an unknown status')
}
