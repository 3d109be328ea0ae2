import type { Outcome } from '../ipc/index.ts'
import { ExitCode } from './io.ts'

/** Of a request that did not go well: one that was answered was answered with an error. */
export function exitCodeOfOutcome(outcome: Outcome): ExitCode {
  switch (outcome) {
    case 'answered':
      return ExitCode.failed
    case 'refused':
      return ExitCode.refused
    case 'not-sent':
      return ExitCode.notSent
    case 'in-doubt':
      return ExitCode.inDoubt
  }
}
