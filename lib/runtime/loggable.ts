import { LsxError } from './errors.ts'

/** Names that no log line may have with their values, at any depth. A key of ours is logged as `idempotencyKey`. */
const SECRET_NAME =
  /^(?:key|token|payload|secret|password|privateKey|sessionKey)$|(?:Token|Secret|Password|PrivateKey|SessionKey)$/

const MAX_DEPTH = 10
const MAX_CAUSES = 5

/** Writes the whole error: code, party, facts, and the chain of causes. */
export function describeError(thrown: unknown): Record<string, unknown> {
  return describe(thrown, MAX_CAUSES)
}

function describe(thrown: unknown, causes: number): Record<string, unknown> {
  // What has no string form, an object without prototype for one, must not make the report of it fail.
  if (!(thrown instanceof Error)) return { message: typeof thrown === 'object' ? 'a thrown object' : String(thrown) }
  const described: Record<string, unknown> = { message: thrown.message }
  if (thrown instanceof LsxError) {
    described.code = thrown.code
    described.party = thrown.party
    for (const [name, fact] of Object.entries(thrown.facts)) if (!Object.hasOwn(described, name)) described[name] = fact
    if (thrown.code === 'INTERNAL') described.stack = thrown.stack
  } else {
    described.name = thrown.name
    if ('code' in thrown) described.code = thrown.code
    described.stack = thrown.stack
  }
  // Causes may go round in a circle.
  if (causes === 0) return described
  if (thrown instanceof AggregateError) described.errors = thrown.errors.map((error) => describe(error, causes - 1))
  if (thrown.cause !== undefined) described.cause = describe(thrown.cause, causes - 1)
  return described
}

/**
 * A copy of the facts that may be written: without the values of secrets, with the size of bytes in place of the bytes,
 * with errors described, and of an end where the facts have none.
 */
export function loggable(facts: object): Record<string, unknown> {
  return copyFields(facts, [])
}

function copyFields(object: object, within: readonly object[]): Record<string, unknown> {
  const copy: Record<string, unknown> = {}
  for (const name of Object.keys(object)) {
    try {
      const value = (object as Record<string, unknown>)[name]
      copy[name] = SECRET_NAME.test(name) && value !== undefined ? '[redacted]' : copyValue(value, [...within, object])
    } catch {
      copy[name] = '[cannot be read]'
    }
  }
  return copy
}

function copyValue(value: unknown, within: readonly object[]): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
  if (within.includes(value)) return '[circular]'
  if (within.length >= MAX_DEPTH) return '[too deep]'
  if (value instanceof Error) return copyFields(describeError(value), [...within, value])
  if (Array.isArray(value)) return value.map((item) => copyValue(item, [...within, value]))
  if ('toJSON' in value && typeof value.toJSON === 'function') return copyValue(value.toJSON(), [...within, value])
  return copyFields(value, within)
}
