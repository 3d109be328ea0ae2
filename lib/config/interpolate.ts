import { type Document, parse, Scalar, visit } from 'yaml'

const REFERENCE = /\$\{([A-Z_][A-Z0-9_]*)(?::-([^}]*))?\}/g

/**
 * Fills `${NAME}` and `${NAME:-default}` in the scalars of a document from `env`. Works on parsed nodes, so a value
 * can never add keys or lists. A plain scalar is read again afterwards (`port: ${PORT:-7044}` is a number); a quoted
 * one stays text. Returns the names that are not set and have no default.
 */
export function interpolate(document: Document, env: Readonly<Record<string, string | undefined>>): string[] {
  const missing: string[] = []
  visit(document, {
    Scalar(_key, node) {
      if (typeof node.value !== 'string' || !node.value.includes('${')) return
      const filled = node.value.replace(REFERENCE, (_whole, name: string, fallback: string | undefined) => {
        const value = env[name] ?? fallback
        if (value === undefined) missing.push(name)
        return value ?? ''
      })
      node.value = node.type === Scalar.PLAIN ? readPlain(filled) : filled
    },
  })
  return missing
}

function readPlain(text: string): unknown {
  try {
    const value: unknown = parse(text)
    return typeof value === 'object' ? text : value
  } catch {
    return text
  }
}
