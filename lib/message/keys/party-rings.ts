import { identityKind, KeyRing, type KeysConfig } from '../../keys/index.ts'
import { storeKeyKind } from '../../store/index.ts'
import type { JwsAlgorithm } from '../jws/index.ts'
import { jwsKeyKind } from './jws-key-kind.ts'

const DAY_MS = 86_400_000

/** Where the keys of a daemon are, as its configuration has it. */
export interface KeyPlaces {
  readonly identityKeyFile: string
  readonly storeKeyFile: string
  /** Left out where nothing is signed, and where the name of the key is fixed: such a key cannot be rotated. */
  readonly signing:
    | {
        readonly party: string
        readonly directory: string
        readonly keyFile?: string | undefined
        readonly keyId?: string | undefined
        readonly algorithm?: JwsAlgorithm | undefined
      }
    | undefined
  readonly keys: KeysConfig
}

export interface PartyRings {
  readonly identity: KeyRing
  readonly store: KeyRing
  readonly jws: KeyRing | undefined
}

/** The rings of a daemon's own keys, the same for the daemon and for `lsctl keys --config`. */
export function partyRings({ identityKeyFile, storeKeyFile, signing, keys }: KeyPlaces): PartyRings {
  const overlapMs = keys.overlapDays * DAY_MS
  return {
    identity: new KeyRing({ file: identityKeyFile, kind: identityKind, overlapMs }),
    store: new KeyRing({ file: storeKeyFile, kind: storeKeyKind, overlapMs }),
    jws:
      signing?.keyFile === undefined || signing.keyId !== undefined
        ? undefined
        : new KeyRing({
            file: signing.keyFile,
            kind: jwsKeyKind({
              party: signing.party,
              directory: signing.directory,
              algorithm: signing.algorithm,
            }),
            overlapMs,
          }),
  }
}
