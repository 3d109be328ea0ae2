/** Protocol version in the first byte of each frame. */
export const PROTOCOL_VERSION = 1

/** version u8, type u8, epoch u16, sequence u64. */
export const HEADER_BYTES = 12

/** AES-256-GCM tag at the end of a sealed frame. */
export const TAG_BYTES = 16

/** A whole frame, header and tag included, unless the key exchange agreed on another size. */
export const DEFAULT_MAX_FRAME_BYTES = 65_536

/** No configuration allows frames larger than this. */
export const LARGEST_MAX_FRAME_BYTES = 1_048_576

export const MAX_RECORDS_PER_FRAME = 4_096

/** Idempotency key: 1 to 64 bytes of UTF-8. */
export const MAX_KEY_BYTES = 64

/** Method: 1 to 64 of [A-Za-z0-9._:/-]. */
export const MAX_METHOD_BYTES = 64

/** Encoded `meta` map of one record. */
export const MAX_META_BYTES = 16_384

/** Bounds on one msgpack value from a peer. */
export interface ScanLimits {
  /** Containers inside one another; the value itself is the first. */
  readonly maxDepth: number
  /** Array members plus map entries, over all levels. Bounds the time that decoding takes: 65,000 empty maps take over 10 ms. */
  readonly maxElements: number
}

export const DEFAULT_SCAN_LIMITS: ScanLimits = Object.freeze({ maxDepth: 16, maxElements: 4_096 })
