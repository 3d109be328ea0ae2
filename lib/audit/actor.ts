import type { AuditActor } from './record.ts'

/** What lsctl says of who runs it. */
export interface OperatorClaim {
  readonly user?: string | undefined
  readonly uid?: number | undefined
  /** Who was another user before `sudo`. */
  readonly sudoUser?: string | undefined
  readonly pid?: number | undefined
  readonly host?: string | undefined
}

const MAX_TEXT = 64

/** The daemon's own user and root: nobody else can connect to a socket of mode 0600, nor send a signal. */
function ownUids(): readonly number[] {
  return [...new Set([process.geteuid?.() ?? 0, 0])]
}

/**
 * Whoever spoke on the operators' socket. Node does not tell the user at the other end (SO_PEERCRED): proven is only who
 * may open the socket at all. Whatever the message says beyond that is kept as a claim.
 */
export function adminSocketActor(claim: unknown): AuditActor {
  const claimed = claimOf(claim)
  const actor = { via: 'ls-admin.sock', provenUids: ownUids() }
  return claimed === undefined ? actor : { ...actor, claimed }
}

export function signalActor(): AuditActor {
  return { via: 'signal', provenUids: ownUids() }
}

/** A few words for a status line: `operator ada (claimed)`. */
export function actorText({ via, claimed }: AuditActor): string {
  const name = claimed?.sudoUser ?? claimed?.user
  return typeof name === 'string' ? `${name} (claimed), ${via}` : via
}

function claimOf(claim: unknown): Record<string, unknown> | undefined {
  if (typeof claim !== 'object' || claim === null) return undefined
  const { user, uid, sudoUser, pid, host } = claim as Record<string, unknown>
  const known = Object.entries({ user, uid, sudoUser, pid, host }).flatMap(([name, value]) => {
    if (typeof value === 'string') return [[name, value.slice(0, MAX_TEXT)]]
    return Number.isSafeInteger(value) ? [[name, value]] : []
  })
  return known.length === 0 ? undefined : Object.fromEntries(known)
}
