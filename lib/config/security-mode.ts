import { LsxError } from '../runtime/index.ts'

export type SecurityMode = 'strict' | 'permissive'

/** A setting that is weaker than strict allows. */
export interface Weakness {
  /** Of the option, such as `kx.channelBinding` or `banks.044.allow`. */
  readonly path: string
  /** What it means, and what to do. */
  readonly message: string
}

/** The second of the two places where permissive must be asked for; never in the file alone. */
export const PERMISSIVE_FLAG = '--permissive-i-know'

export const PERMISSIVE_LINE =
  'PERMISSIVE MODE: rules of security are off, for debugging only; set security.mode to strict and restart'
export const PERMISSIVE_LINE_MS = 300_000

/**
 * Strict takes no weakness; permissive is for debugging, and has to be asked for twice: in the configuration, and where
 * the daemon is started.
 *
 * @throws LsxError REFUSED, party self, with `facts.weaknesses`
 */
export function enforceSecurityMode(asked: {
  readonly mode: SecurityMode
  readonly hasFlag: boolean
  readonly weaknesses: readonly Weakness[]
}): void {
  const { mode, hasFlag, weaknesses } = asked
  if (mode === 'permissive' && !hasFlag) {
    const message = `security.mode is permissive, which is for debugging only: set it to strict, or start with ${PERMISSIVE_FLAG} as well`
    throw new LsxError('REFUSED', message, { party: 'self' })
  }
  if (mode === 'strict' && hasFlag) {
    const message = `${PERMISSIVE_FLAG} was given, and security.mode is strict: leave it out, or set security.mode to permissive as well`
    throw new LsxError('REFUSED', message, { party: 'self' })
  }
  if (mode === 'permissive' || weaknesses.length === 0) return
  const lines = weaknesses.map(({ path, message }) => `  ${path}: ${message}`)
  throw new LsxError('REFUSED', `weaker than security.mode strict allows:\n${lines.join('\n')}`, {
    party: 'self',
    facts: { weaknesses },
  })
}

/** An allow-list with a range that holds every address allows anybody. */
export function openRangeWeakness(path: string, allow: readonly string[]): readonly Weakness[] {
  const open = allow.filter((entry) => entry.endsWith('/0'))
  return open.length === 0
    ? []
    : [{ path, message: `${open.join(' and ')} is every address: name those that the party has` }]
}

export function channelBindingWeakness({ channelBinding }: { readonly channelBinding: boolean }): readonly Weakness[] {
  return channelBinding
    ? []
    : [
        {
          path: 'kx.channelBinding',
          message: 'off: a proxy that ends TLS in between would not be noticed; set it to true',
        },
      ]
}

export function verifyWeakness(path: string, verify: string): readonly Weakness[] {
  return verify === 'required'
    ? []
    : [{ path, message: `${verify}: messages without a good signature are believed; set it to required` }]
}
