/** Who erred. Decides whom an operator calls first. */
export type Party = 'caller' | 'peer' | 'network' | 'self'

interface ErrorEntry {
  readonly party: Party
  /** One line for docs/ERRORS.md and `--help`; never holds data of a request. */
  readonly summary: string
}

/**
 * Every stable error code with the party that usually erred.
 * A test compares this table with docs/ERRORS.md.
 */
export const ERROR_TABLE = {
  BAD_REQUEST: { party: 'caller', summary: 'The request is malformed.' },
  TOO_LARGE: { party: 'caller', summary: 'The payload or message is over the agreed limit.' },
  UNKNOWN_BANK: { party: 'caller', summary: 'No bank with this code is configured.' },
  UNKNOWN_METHOD: { party: 'caller', summary: 'The xchange has no handler for this method.' },
  KEY_PENDING: { party: 'network', summary: 'The channel has no session key yet.' },
  CHANNEL_DOWN: { party: 'network', summary: 'The channel to the bank is down.' },
  QUARANTINED: { party: 'self', summary: 'An operator, or evidence, put the bank in quarantine.' },
  BUSY: { party: 'peer', summary: 'A queue or window is full.' },
  RATE_LIMITED: { party: 'caller', summary: 'More requests than the configured rate.' },
  CIRCUIT_OPEN: { party: 'peer', summary: 'The bank failed too often of late.' },
  DEADLINE_EXCEEDED: { party: 'network', summary: 'The deadline passed, or cannot be met.' },
  IN_DOUBT: { party: 'network', summary: 'The request was sent and its outcome is not known yet.' },
  DUPLICATE_MISMATCH: { party: 'caller', summary: 'The idempotency key was used before with another request.' },
  REFUSED: { party: 'peer', summary: 'A rule of the receiver forbids it.' },
  HANDLER_FAILED: { party: 'peer', summary: "The bank's handler answered with an error." },
  NOT_LS: { party: 'peer', summary: 'The peer is not the LS of this xchange.' },
  IP_DENIED: { party: 'peer', summary: 'The address is not on the allow-list.' },
  CERT_DENIED: { party: 'peer', summary: 'The TLS certificate is missing, invalid or of another party.' },
  IDENTITY_DENIED: { party: 'peer', summary: 'The identity is not one of the pinned ones.' },
  KX_FAILED: { party: 'peer', summary: 'The key exchange failed.' },
  STALE_GENERATION: { party: 'peer', summary: 'The LS is older than one that was accepted before.' },
  FRAME_INVALID: { party: 'peer', summary: 'A frame breaks the protocol.' },
  SIGNATURE_INVALID: { party: 'peer', summary: 'A signature does not verify.' },
  FULFILMENT_INVALID: { party: 'peer', summary: 'The ILP proof is missing, wrong or late, or cannot be given.' },
  TOKEN_INVALID: { party: 'caller', summary: 'The token is not valid here.' },
  STORE_FULL: { party: 'self', summary: 'The durable store is at its bound.' },
  SHUTTING_DOWN: { party: 'self', summary: 'The daemon is draining.' },
  INTERNAL: { party: 'self', summary: 'A defect or a failure of this machine.' },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERROR_TABLE

export const ERROR_CODES = Object.keys(ERROR_TABLE) as readonly ErrorCode[]

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERROR_TABLE, value)
}

export interface ErrorOptions {
  readonly cause?: unknown
  /** Facts for the log. Never keys, tokens or payloads. */
  readonly facts?: Readonly<Record<string, unknown>>
  /** Overrides the usual party of the code. */
  readonly party?: Party
}

/** The one error class: a stable `code`, who erred, facts for the log and the cause. */
export class LsxError extends Error {
  readonly code: ErrorCode
  readonly party: Party
  readonly facts: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'LsxError'
    this.code = code
    this.party = options.party ?? ERROR_TABLE[code].party
    this.facts = options.facts ?? {}
  }
}

/** Any thrown value as an LsxError; what is not one already becomes `code`, with the value as cause. */
export function toLsxError(thrown: unknown, code: ErrorCode = 'INTERNAL'): LsxError {
  if (thrown instanceof LsxError) return thrown
  if (thrown instanceof Error) return new LsxError(code, thrown.message, { cause: thrown })
  // What has no string form, an object without prototype for one, must not throw anew here.
  return new LsxError(code, typeof thrown === 'object' ? 'a thrown object' : String(thrown), { cause: thrown })
}
