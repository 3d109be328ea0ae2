export * as fields from './fields.ts'
export { loadConfig } from './load.ts'
export type { ConfigProblem } from './problem.ts'
