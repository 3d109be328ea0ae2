import { loggable } from '../runtime/index.ts'

const MAX_TEXT = 500
const MAX_ITEMS = 100
const MAX_FACTS_BYTES = 16_384

/** Facts as they may be recorded: without secrets, and of a size that neither a peer nor an operator can choose. */
export function recordableFacts(facts: object): Record<string, unknown> {
  const bounded = bound(loggable(facts)) as Record<string, unknown>
  const bytes = Buffer.byteLength(JSON.stringify(bounded))
  return bytes <= MAX_FACTS_BYTES ? bounded : { tooLarge: true, bytes, names: Object.keys(bounded).slice(0, MAX_ITEMS) }
}

function bound(value: unknown): unknown {
  if (typeof value === 'string') return value.length <= MAX_TEXT ? value : `${value.slice(0, MAX_TEXT)}…`
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    const items = value.slice(0, MAX_ITEMS).map(bound)
    return value.length <= MAX_ITEMS ? items : [...items, `and ${value.length - MAX_ITEMS} more`]
  }
  // The stack of an error is for the log: here it would only say where the defect is.
  const entries = Object.entries(value).filter(([name, fact]) => name !== 'stack' && fact !== undefined)
  return Object.fromEntries(entries.slice(0, MAX_ITEMS).map(([name, fact]) => [name.slice(0, MAX_TEXT), bound(fact)]))
}
