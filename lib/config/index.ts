export * as fields from './fields.ts'
export { configFileProblem, loadConfig } from './load.ts'
export type { ConfigProblem } from './problem.ts'
export {
  channelBindingWeakness,
  enforceSecurityMode,
  openRangeWeakness,
  PERMISSIVE_FLAG,
  PERMISSIVE_LINE,
  PERMISSIVE_LINE_MS,
  type SecurityMode,
  verifyWeakness,
  type Weakness,
} from './security-mode.ts'
