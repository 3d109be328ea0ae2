export { DaemonKeys, type DaemonKeysOptions } from './daemon-keys.ts'
export { type KeyPlaces, type PartyRings, partyRings } from './party-rings.ts'
export { keyWarnings } from './warnings.ts'
