import { LsxError } from '../runtime/index.ts'

/** A bank that an operator, or evidence, has shut off. Kept in the store: it survives a restart. */
export interface Quarantine {
  readonly bankCode: string
  readonly reason: string
  /** Unix ms. */
  readonly sinceMs: number
}

export function validateQuarantine(value: unknown): Quarantine {
  const quarantine = value as Partial<Quarantine> | null
  if (
    typeof quarantine?.bankCode !== 'string' ||
    typeof quarantine.reason !== 'string' ||
    typeof quarantine.sinceMs !== 'number'
  ) {
    throw new LsxError('INTERNAL', 'a quarantine record of another form')
  }
  return quarantine as Quarantine
}
