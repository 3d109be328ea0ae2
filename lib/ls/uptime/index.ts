export type { UptimeFigures } from './figures.ts'
export { type TransitionListener, type TransitionQuery, UptimeLedger, type UptimeLedgerOptions } from './ledger.ts'
export { RollingLog, type RollingLogOptions } from './rolling-log.ts'
export type { Transition } from './transition.ts'
