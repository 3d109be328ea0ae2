/** Fixed by Noise revision 34. */
export const NOISE_MAX_MESSAGE_BYTES = 65_535

/** Fixed by AES-256-GCM and X25519. */
export const SESSION_KEY_BYTES = 32
export const X25519_KEY_BYTES = 32
export const ED25519_KEY_BYTES = 32
export const ED25519_SIGNATURE_BYTES = 64

/** Ours: part of the protocol. */
export const SESSION_ID_BYTES = 16
export const EXPORTER_BYTES = 32
export const BOOT_ID_BYTES = 16
/** The largest kx frame is about 600 bytes; whatever is far above that is not one, and is not decoded. */
export const MAX_KX_FRAME_BYTES = 4_096
export const MAX_EPOCH = 0xffff
/** Behind the negotiated rekey limits: a key that reaches one of these seals and opens nothing more. */
export const KEY_HARD_STOP_MS = 2 * 60 * 60 * 1_000
export const KEY_HARD_STOP_FRAMES = 2 ** 24

/** Ours: defaults of the proof window. */
export const DEFAULT_PROOF_LIFETIME_MS = 5 * 60 * 1_000
export const DEFAULT_CLOCK_SKEW_MS = 60 * 1_000
