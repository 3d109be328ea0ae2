import { LsxError } from '../runtime/index.ts'

/** Bounds of one unix-socket server. All of them hold per connection except `maxConnections`. */
export interface IpcLimits {
  /** Longest block (fast form, without its length) or line (human form), in bytes; 1 KiB to 64 MiB. */
  readonly maxMessageBytes: number
  readonly maxConnections: number
  /** Messages handed to the handler and not answered yet; more are refused with BUSY. */
  readonly maxPendingPerConnection: number
  /** Bytes of replies that the client has not taken. Past half, nothing more is read; past all, the client is cut off. */
  readonly maxBufferedBytes: number
}

export const DEFAULT_IPC_LIMITS: IpcLimits = Object.freeze({
  maxMessageBytes: 2 * 1024 * 1024,
  maxConnections: 256,
  maxPendingPerConnection: 65_536,
  maxBufferedBytes: 16 * 1024 * 1024,
})

/**
 * A block is never longer than this, so the first byte of its length is at most 0x04. That keeps the two forms apart:
 * no length starts with `{`, nor with any other printable character.
 */
export const LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024

/** A message that is not complete after this long ends its connection. */
export const PARTIAL_MESSAGE_MS = 30_000

/** How long a connection that ends may take to read its last answers. */
export const LAST_ANSWERS_MS = 30_000

/** How long a connection that has had its last answer may take to close its own end. */
export const LINGER_MS = 2_000

/** So many messages in a row without id, op or meaning end a connection. */
export const MAX_BROKEN_IN_A_ROW = 64

/** sockaddr_un holds 108 bytes on Linux, the last of them zero. */
export const MAX_SOCKET_PATH_BYTES = 107

/** What the daemons accept of nesting and size, in messages from apps and in payloads. */
export const MESSAGE_SCAN_LIMITS = Object.freeze({ maxDepth: 16, maxElements: 4096 })
export const PAYLOAD_SCAN_LIMITS = Object.freeze({ maxDepth: 16, maxElements: 65_536 })

export function completeLimits(limits: Partial<IpcLimits> | undefined): IpcLimits {
  const complete = { ...DEFAULT_IPC_LIMITS, ...limits }
  const { maxMessageBytes } = complete
  if (!Number.isInteger(maxMessageBytes) || maxMessageBytes < 1024 || maxMessageBytes > LARGEST_MESSAGE_BYTES) {
    throw new LsxError('INTERNAL', 'maxMessageBytes must be from 1 KiB to 64 MiB', { facts: { maxMessageBytes } })
  }
  return Object.freeze(complete)
}
