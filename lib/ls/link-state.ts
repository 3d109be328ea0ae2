import type { DropCause, LsChannel } from '../channel/index.ts'
import type { ErrorCode, LsxError } from '../runtime/index.ts'
import type { Quarantine } from './quarantine.ts'
import type { RoutedRequest } from './routed-request.ts'

/**
 * The perpetual channel to one bank, over all its sockets.
 *
 *            dial              socket open            kx done               drain
 *   idle ─────────> dialing ──────────────> securing ─────────> connected ─────────> draining
 *    ▲                 │ failed                 │ failed             │ dropped           │ done
 *    ├─────────────────┴────────────────────────┴────────────────────┴───────────────────┘
 *    │ resume                 quarantine, from any
 *    └────────── quarantined <────────────────────
 *
 * Where the xchange dials, idle goes to securing directly. A new kx over the same socket leaves `connected` as it is.
 */
export type LinkState =
  | { readonly name: 'idle'; readonly sinceMs: number }
  | { readonly name: 'dialing'; readonly sinceMs: number }
  | { readonly name: 'securing'; readonly sinceMs: number; readonly channel: LsChannel<RoutedRequest> }
  | { readonly name: 'connected'; readonly sinceMs: number; readonly channel: LsChannel<RoutedRequest> }
  | { readonly name: 'draining'; readonly sinceMs: number; readonly channel: LsChannel<RoutedRequest> }
  | ({ readonly name: 'quarantined'; readonly sinceMs: number } & Pick<Quarantine, 'reason' | 'by'> & {
        /** Unix ms: over restarts. */
        readonly quarantinedAtMs: number
      })

export type LinkStateName = LinkState['name']

const ALLOWED: Readonly<Record<LinkStateName, readonly LinkStateName[]>> = {
  idle: ['dialing', 'securing', 'quarantined'],
  dialing: ['securing', 'idle', 'quarantined'],
  securing: ['connected', 'idle', 'quarantined'],
  connected: ['draining', 'idle', 'quarantined', 'connected'],
  draining: ['idle', 'quarantined'],
  quarantined: ['idle'],
}

export function isAllowed(from: LinkStateName, to: LinkStateName): boolean {
  return ALLOWED[from].includes(to)
}

/** Why a link left a state; what the uptime log and the operator are told. */
export interface LinkCause {
  readonly cause?: DropCause
  readonly error?: LsxError
}

/** The last thing that went wrong on a link. */
export interface LinkFailure {
  readonly atMs: number
  readonly cause: DropCause
  readonly code: ErrorCode | undefined
  readonly message: string
}
