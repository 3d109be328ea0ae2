import { LsxError } from '../runtime/index.ts'

/** A bank that an operator, or evidence, has shut off. Kept in the store: it survives a restart. */
export interface Quarantine {
  readonly bankCode: string
  readonly reason: string
  /** Unix ms. */
  readonly sinceMs: number
  /** In a few words; records of older versions have none. */
  readonly by?: string
}

export function validateQuarantine(value: unknown): Quarantine {
  const quarantine = value as Partial<Quarantine> | null
  if (
    typeof quarantine?.bankCode !== 'string' ||
    typeof quarantine.reason !== 'string' ||
    typeof quarantine.sinceMs !== 'number' ||
    (quarantine.by !== undefined && typeof quarantine.by !== 'string')
  ) {
    throw new LsxError('INTERNAL', 'a quarantine record of another form')
  }
  return quarantine as Quarantine
}
