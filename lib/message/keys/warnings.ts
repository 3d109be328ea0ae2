import type { ExpiryWatch } from '../../certs/index.ts'
import type { DaemonKeys } from './daemon-keys.ts'

/** What somebody has to see to, in a word each: a certificate that ends, keys that are due. */
export function keyWarnings(
  keys: Pick<DaemonKeys, 'due'> | undefined,
  { daysLeft, isNearEnd }: Pick<ExpiryWatch, 'daysLeft' | 'isNearEnd'>,
): readonly string[] {
  const due = (keys?.due ?? []).map((kind) => `the ${kind} key is due for rotation`)
  return isNearEnd && daysLeft !== undefined ? [`the certificate ends in ${daysLeft} days`, ...due] : due
}
