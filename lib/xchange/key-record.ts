import { ResponseStatus } from '../frames/index.ts'
import type { StoredResponse } from './once-only.ts'

/** What the durable once-only table keeps under a key. Without a response the key was begun. */
export interface KeyRecord {
  readonly digest: Buffer
  /** Where its entry in the time index was added. */
  readonly position: string
  /** Wall time of the last write, Unix ms. */
  readonly atMs: number
  readonly response?: StoredResponse
}

const STATUSES: readonly unknown[] = Object.values(ResponseStatus)

export function validateKeyRecord(value: unknown): KeyRecord {
  if (typeof value === 'object' && value !== null && 'digest' in value && 'position' in value && 'atMs' in value) {
    const { digest, position, atMs } = value
    if (Buffer.isBuffer(digest) && typeof position === 'string' && typeof atMs === 'number' && Number.isFinite(atMs)) {
      const begun = { digest, position, atMs }
      return 'response' in value ? { ...begun, response: validateResponse(value.response) } : begun
    }
  }
  throw new TypeError('not the record of a key')
}

function validateResponse(value: unknown): StoredResponse {
  if (typeof value === 'object' && value !== null && 'status' in value && 'payload' in value) {
    const { status, payload } = value
    const meta = 'meta' in value ? value.meta : undefined
    if (STATUSES.includes(status) && Buffer.isBuffer(payload) && (meta === undefined || Buffer.isBuffer(meta))) {
      return { status: status as StoredResponse['status'], payload, meta }
    }
  }
  throw new TypeError('not a response')
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
