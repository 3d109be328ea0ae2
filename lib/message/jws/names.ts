import { LsxError } from '../../runtime/index.ts'

/** A party is a bank's code, or the name of an LS. Both names are also names of files. */
const PARTY = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,31}$/
const KEY_ID = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/

export const MAX_KEY_ID_BYTES = 64

export function isParty(text: unknown): boolean {
  return typeof text === 'string' && PARTY.test(text)
}

export function isKeyId(text: unknown): text is string {
  return typeof text === 'string' && KEY_ID.test(text)
}

/** @throws LsxError BAD_REQUEST */
export function checkParty(party: string): void {
  if (isParty(party)) return
  throw new LsxError(
    'BAD_REQUEST',
    `a party is named by 1 to 32 of A-Z a-z 0-9 . _ - and does not begin with a dot: ${JSON.stringify(party.slice(0, 64))}`,
  )
}
