import { createProcessIo, runProgram } from '../lib/cli/index.ts'
import { packageVersion } from './package-version.ts'

await runProgram(createProcessIo(process), process.argv.slice(2), packageVersion())
