import { pino } from 'pino'
import { LsxError } from './errors.ts'

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

/** Field names that must never reach a log line, at the top or one level down. */
const SECRET_FIELDS = ['privateKey', 'secret', 'token', 'password', 'payload', 'key', 'sessionKey']

/** Writes the whole error: code, party, facts, and the chain of causes. */
export function describeError(thrown: unknown): Record<string, unknown> {
  // What has no string form, an object without prototype for one, must not make the report of it fail.
  if (!(thrown instanceof Error)) return { message: typeof thrown === 'object' ? 'a thrown object' : String(thrown) }
  const described: Record<string, unknown> = { message: thrown.message }
  if (thrown instanceof LsxError) {
    described.code = thrown.code
    described.party = thrown.party
    Object.assign(described, thrown.facts)
    if (thrown.code === 'INTERNAL') described.stack = thrown.stack
  } else {
    described.name = thrown.name
    if ('code' in thrown) described.code = thrown.code
    described.stack = thrown.stack
  }
  if (thrown.cause !== undefined) described.cause = describeError(thrown.cause)
  return described
}

/** JSON lines on `destination` (default: standard output). */
export function createLogger(options: {
  name: string
  level: LogLevel
  destination?: { write(line: string): void }
}): Logger {
  const settings = {
    name: options.name,
    level: options.level,
    // What was described already passes as it is.
    serializers: { error: (value: unknown) => (value instanceof Error ? describeError(value) : value) },
    redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
    timestamp: pino.stdTimeFunctions.isoTime,
  }
  return options.destination === undefined
    ? pino(settings, pino.destination({ sync: true }))
    : pino(settings, options.destination)
}

export const silentLogger: Logger = createLogger({ name: 'silent', level: 'silent' })
