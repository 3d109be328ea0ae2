import { z } from 'zod'
import { fields } from '../../config/index.ts'
import { JWS_ALGORITHMS } from './algorithms.ts'

const modeField = z.enum(['batch', 'each'])
const policyField = z.enum(['off', 'when-present', 'required'])

/** A party's name, also that of its folder in the key directory. */
export const partyField = z
  .string()
  .regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,31}$/, 'a party is 1 to 32 of A-Z a-z 0-9 . _ - and does not begin with a dot')

/** Options that both daemons have under `signing`. */
export const signingFields = (baseDir: string) => ({
  sign: z.boolean().default(true),
  verify: policyField.default('required'),
  mode: modeField.default('batch'),
  keyFile: fields.pathField(baseDir).optional(),
  keyId: z.string().min(1).max(64).optional(),
  algorithm: z.enum(JWS_ALGORITHMS).optional(),
  directory: fields.pathField(baseDir),
  directoryPollMs: fields.durationMsField(100, 3_600_000).default(5_000),
  cache: fields.section({
    size: fields.countField(0, 1_000_000).default(1_000),
    ttlMs: fields.durationMsField(1_000).default(3_600_000),
  }),
  maxSkewMs: fields.durationMsField(1_000, 86_400_000).default(300_000),
})

/** What may differ for one bank. */
export const bankSigningField = z.strictObject({
  sign: z.boolean().optional(),
  verify: policyField.optional(),
  mode: modeField.optional(),
})

export type SigningConfig = z.output<z.ZodObject<ReturnType<typeof signingFields>>>
export type BankSigningConfig = z.output<typeof bankSigningField>
