import { z } from 'zod'
import { fields } from '../config/index.ts'

const DAYS = { least: 1, most: 3_650 } as const

/** The `keys` section of both daemons: when keys are due for rotation, and how long the old ones are kept. */
export const keysField = fields.section({
  identityDays: fields.countField(DAYS.least, DAYS.most).default(365),
  jwsDays: fields.countField(DAYS.least, DAYS.most).default(365),
  storeDays: fields.countField(DAYS.least, DAYS.most).default(365),
  overlapDays: fields.countField(DAYS.least, 365).default(7),
  automatic: z.array(z.enum(['jws', 'store'])).default(['store']),
})

export type KeysConfig = z.output<typeof keysField>
