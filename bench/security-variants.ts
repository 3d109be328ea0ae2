import type { Variant } from './daemons.ts'

/** Batch signatures over the payloads, and the ILP condition of each response checked. Skipped where LS has no such section. */
export const SECURITY_STACK: Variant = { ls: { signing: { mode: 'batch' } }, xchange: { signing: { mode: 'batch' } } }

/** A JWS of its own for each message, to show what the batch saves. */
export const EACH_MESSAGE_SIGNED: Variant = {
  ls: { signing: { mode: 'each' } },
  xchange: { signing: { mode: 'each' } },
}
