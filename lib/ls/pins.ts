import { formatIdentityPin, readIdentityPin } from '../certs/index.ts'
import { LsxError } from '../runtime/index.ts'
import type { BankConfig } from './config.ts'

/**
 * An identity belongs to one party. The same pin at two banks, or LS's own at a bank, is a file copied to the wrong
 * place, and would let one party speak for another.
 *
 * @throws LsxError IDENTITY_DENIED, party self
 */
export function checkPinOwners(banks: readonly BankConfig[], ownPublicKey: Buffer): void {
  const owners = new Map([[formatIdentityPin(ownPublicKey), 'this LS itself']])
  for (const { code, identities } of banks) {
    for (const pin of new Set(identities.map((identity) => formatIdentityPin(readIdentityPin(identity))))) {
      const owner = owners.get(pin)
      if (owner !== undefined) {
        const message = `banks.${code}.identities: ${pin} is the identity of ${owner}; each party has one of its own`
        throw new LsxError('IDENTITY_DENIED', message, { party: 'self', facts: { bankCode: code, pin } })
      }
      owners.set(pin, `bank ${code}`)
    }
  }
}
