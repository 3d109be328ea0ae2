export { type BankConfig, type LsConfig, loadLsConfig } from './config.ts'
export { checkLsFiles, LsDaemon, type LsDaemonOptions } from './daemon.ts'
