import type { ErrorCode } from '../runtime/index.ts'

const ADVICE: { readonly [code in ErrorCode]?: string } = {
  TOO_LARGE: 'send less',
  UNKNOWN_BANK: 'lsctl status lists the banks',
  UNKNOWN_METHOD: "the bank's xchange.yaml says which methods it has",
  KEY_PENDING: 'lsctl status says how far the key exchange is',
  CHANNEL_DOWN: 'lsctl status says why',
  QUARANTINED: 'lsctl resume BANK ends it',
  BUSY: 'try again in a moment',
  DUPLICATE_MISMATCH: 'another request needs another key',
  SHUTTING_DOWN: 'try again when it is back',
}

/** What an operator can do about an error, where its message does not say so by itself. */
export function adviceFor(code: string | undefined): string | undefined {
  return code !== undefined && Object.hasOwn(ADVICE, code) ? ADVICE[code as ErrorCode] : undefined
}
