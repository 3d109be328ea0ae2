import { channelBindingWeakness, openRangeWeakness, verifyWeakness, type Weakness } from '../config/index.ts'
import type { BankConfig, LsConfig } from './config.ts'

/** Every setting that is weaker than strict allows. */
export function lsWeaknesses(config: LsConfig): readonly Weakness[] {
  return [
    ...channelBindingWeakness(config.kx),
    ...openRangeWeakness('listen.allow', config.listen.allow),
    ...(config.signing === undefined ? [] : verifyWeakness('signing.verify', config.signing.verify)),
    ...config.banks.flatMap(bankWeaknesses),
  ]
}

export function bankWeaknesses(bank: BankConfig): readonly Weakness[] {
  const verify = bank.signing?.verify
  return [
    ...openRangeWeakness(`banks.${bank.code}.allow`, bank.allow),
    ...(verify === undefined ? [] : verifyWeakness(`banks.${bank.code}.signing.verify`, verify)),
  ]
}
