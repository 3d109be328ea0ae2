import { channelBindingWeakness, openRangeWeakness, verifyWeakness, type Weakness } from '../config/index.ts'
import type { XchangeConfig } from './config.ts'

/** Every setting that is weaker than strict allows. */
export function xchangeWeaknesses(config: XchangeConfig): readonly Weakness[] {
  return [
    ...channelBindingWeakness(config.kx),
    ...openRangeWeakness('ls.allow', config.ls.allow),
    ...(config.signing === undefined ? [] : verifyWeakness('signing.verify', config.signing.verify)),
  ]
}
