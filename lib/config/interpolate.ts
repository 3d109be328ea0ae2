// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the form of a reference is told to the operator
import { type Document, isPair, isScalar, isSeq, Scalar, visit } from 'yaml'
import type { ConfigProblem } from './problem.ts'

const REFERENCE = /\$\{([A-Z_][A-Z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\}/g
const NUMBER = /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/

/**
 * Fills `${NAME}` and `${NAME:-default}` in the values of a document from `env`; as in a shell, the default also stands
 * in for a variable that is empty. Works on parsed nodes, so what is filled in can never add keys, lists or comments. A
 * plain scalar that spells a number or a boolean then is one (`port: ${PORT:-7044}`); a quoted one stays text.
 * Returns the references that cannot be filled.
 */
export function interpolate(
  document: Document,
  env: Readonly<Record<string, string | undefined>>,
): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = []
  visit(document, {
    Scalar(key, node, ancestors) {
      if (key === 'key' || typeof node.value !== 'string' || !node.value.includes('${')) return
      const path = pathOf([...ancestors, node])
      if (node.value.replace(REFERENCE, '').includes('${')) {
        problems.push({ path, message: 'a reference has the form ${NAME} or ${NAME:-default}, in capitals' })
        return
      }
      const filled = node.value.replace(REFERENCE, (_whole, name: string, fallback: string | undefined) => {
        const value = env[name]
        if (fallback !== undefined && (value === undefined || value === '')) return fallback
        if (value === undefined) {
          problems.push({ path, message: `the environment has no ${name}, and the file gives no default` })
        }
        return value ?? ''
      })
      node.value = node.type === Scalar.PLAIN ? readPlain(filled) : filled
    },
  })
  return problems
}

function readPlain(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  return NUMBER.test(text) ? Number(text) : text
}

/** The way to the last of these nodes, of which each holds the next. */
function pathOf(nodes: readonly unknown[]): string {
  return nodes
    .flatMap((node, index) => {
      if (isPair(node)) return [isScalar(node.key) ? String(node.key.value) : '?']
      return isSeq(node) ? [String(node.items.indexOf(nodes[index + 1]))] : []
    })
    .join('.')
}
