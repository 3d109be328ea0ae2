export * as fields from './fields.ts'
export { type ConfigProblem, loadConfig } from './load.ts'
