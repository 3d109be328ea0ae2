import { z } from 'zod'
import { fields, loadConfig } from '../config/index.ts'
import { type KeyRing, keysField } from '../keys/index.ts'
import { partyField, signingFields } from '../message/jws/index.ts'
import { type PartyRings, partyRings } from '../message/keys/index.ts'
import { LsxError } from '../runtime/index.ts'
import { storeKeyFileOf } from '../store/index.ts'

/** What the configurations of both daemons have in common about keys; of the rest nothing is looked at. */
const placesSchema = (baseDir: string) =>
  z.looseObject({
    bankCode: fields.bankCodeField.optional(),
    storeDir: fields.pathField(baseDir),
    storeKeyFile: fields.pathField(baseDir).optional(),
    identityKeyFile: fields.pathField(baseDir),
    keys: keysField,
    signing: z.looseObject({ party: partyField.default('ls'), ...signingFields(baseDir) }).optional(),
  })

export interface ConfiguredKeys {
  readonly rings: PartyRings
  readonly days: { readonly identity: number; readonly jws: number; readonly store: number }
}

/** The keys of the daemon that this file configures. @throws LsxError BAD_REQUEST */
export function keysOfConfig(file: string, env: Readonly<Record<string, string | undefined>>): ConfiguredKeys {
  const config = loadConfig(file, placesSchema, env)
  const { bankCode, signing, keys } = config
  return {
    rings: partyRings({
      identityKeyFile: config.identityKeyFile,
      storeKeyFile: storeKeyFileOf(config),
      signing: signing === undefined ? undefined : { ...signing, party: bankCode ?? signing.party },
      keys,
    }),
    days: { identity: keys.identityDays, jws: keys.jwsDays, store: keys.storeDays },
  }
}

/** @throws LsxError BAD_REQUEST where the daemon has no such key */
export function ringOf({ rings }: ConfiguredKeys, kind: string): KeyRing {
  const ring = kind === 'identity' || kind === 'jws' || kind === 'store' ? rings[kind] : undefined
  if (ring !== undefined) return ring
  throw new LsxError('BAD_REQUEST', `this daemon has no ${kind} key in a file of its own that could be rotated`)
}
