export { type CliIo, ExitCode } from './io.ts'
export { createProcessIo } from './process-io.ts'
export { runProgram } from './program.ts'
