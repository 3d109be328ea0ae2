import type { StoredResponse } from './once-only.ts'

/** What the durable once-only table keeps of a key. Without a response the key was begun. */
export interface KeyRecord {
  readonly digest: Buffer
  /** Wall time of the last write, Unix ms. */
  readonly atMs: number
  readonly response?: StoredResponse
}

export function validateBytes(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value
  throw new TypeError('not bytes')
}

/** Which memory of keys this is, and since when it remembers. */
export interface KeyMemory {
  /** Wall time, Unix ms. */
  readonly startMs: number
  /** Random, 8 bytes: another store has another memory, whatever node it belongs to. */
  readonly id: Buffer
}

export const MEMORY_ID_BYTES = 8

export function validateKeyMemory(value: unknown): KeyMemory {
  if (typeof value === 'object' && value !== null && 'startMs' in value && 'id' in value) {
    const { startMs, id } = value
    const isId = Buffer.isBuffer(id) && id.length === MEMORY_ID_BYTES
    if (typeof startMs === 'number' && Number.isFinite(startMs) && isId) return { startMs, id }
  }
  throw new TypeError('not the start of a memory')
}
