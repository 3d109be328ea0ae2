export { type BankConfig, type LsConfig, loadLsConfig } from './config.ts'
export { checkLsFiles, LsDaemon, type LsDaemonOptions } from './daemon.ts'
export type { BankStatus } from './status.ts'
export type { Transition, UptimeFigures } from './uptime/index.ts'
