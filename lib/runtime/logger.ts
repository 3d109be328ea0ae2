import { pino } from 'pino'
import { loggable } from './loggable.ts'

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

type LogMethod = (facts: Record<string, unknown>, message: string) => void

/** The part of pino that the product uses: facts first, then a sentence for the operator. */
export interface Logger {
  fatal: LogMethod
  error: LogMethod
  warn: LogMethod
  info: LogMethod
  debug: LogMethod
  child(bindings: Record<string, unknown>): Logger
}

/** JSON lines on `destination` (default: standard output), of which `loggable` decides what they may hold. */
export function createLogger(options: {
  name: string
  level: LogLevel
  destination?: { write(line: string): void }
}): Logger {
  const settings = {
    name: options.name,
    level: options.level,
    formatters: { log: loggable },
    timestamp: pino.stdTimeFunctions.isoTime,
  }
  const logger =
    options.destination === undefined
      ? pino(settings, pino.destination({ sync: true }))
      : pino(settings, options.destination)
  const { child } = logger
  // Bindings pass by the formatter. Children inherit this: pino makes them with their parent as prototype.
  logger.child = function loggableChild(this: typeof logger, bindings: object) {
    return child.call(this, loggable(bindings))
  } as typeof child
  return logger
}

export const silentLogger: Logger = createLogger({ name: 'silent', level: 'silent' })
