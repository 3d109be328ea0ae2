import { dirname, join } from 'node:path/posix'
import { filesBelow, readProjectFile } from '../support/project.ts'

/** One `import` or `export … from` of a source file. */
export interface Import {
  /** Own files as a path from the project's root; packages and node built-ins as they are written. */
  readonly target: string
  readonly isOwnFile: boolean
  readonly isTypeOnly: boolean
  /** Values that are named; `*` for a whole namespace, nothing for an import for its effects. */
  readonly values: readonly string[]
}

export interface SourceFile {
  readonly path: string
  readonly imports: readonly Import[]
  /** Without comments and without the contents of quoted strings. */
  readonly code: string
}

const STATEMENT =
  /^(?:import|export)(\s+type)?\s+(\{[^}]*\}|\*(?:\s+as\s+\w+)?|\w+(?:\s*,\s*(?:\{[^}]*\}|\*\s+as\s+\w+))?)\s+from\s+'([^']+)'/gm
const EFFECT_ONLY = /^import\s+'([^']+)'/gm
const DYNAMIC = /\bimport\(\s*'([^']+)'\s*\)/g

export function readSources(...folders: readonly string[]): readonly SourceFile[] {
  return folders
    .flatMap((folder) => filesBelow(folder, '.ts'))
    .filter((path) => !path.endsWith('.d.ts'))
    .map((path) => parseSource(path, readProjectFile(path)))
}

export function parseSource(path: string, text: string): SourceFile {
  const imports: Import[] = []
  const add = (specifier: string, isTypeOnly: boolean, values: readonly string[]) => {
    const isOwnFile = specifier.startsWith('.')
    const target = isOwnFile ? join(dirname(path), specifier) : specifier
    imports.push({ target, isOwnFile, isTypeOnly, values })
  }
  for (const [, typeWord, clause = '', specifier = ''] of text.matchAll(STATEMENT)) {
    const values = typeWord === undefined ? valuesOf(clause) : []
    add(specifier, values.length === 0, values)
  }
  for (const [, specifier = ''] of text.matchAll(EFFECT_ONLY)) add(specifier, false, [])
  for (const [, specifier = ''] of text.matchAll(DYNAMIC)) add(specifier, false, ['*'])
  return { path, imports, code: withoutCommentsAndStrings(text) }
}

function valuesOf(clause: string): readonly string[] {
  const braces = /\{([^}]*)\}/.exec(clause)
  const named = (braces?.[1] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && !name.startsWith('type '))
    .map((name) => name.split(/\s+as\s+/)[0] ?? name)
  const outside = clause
    .replace(/\{[^}]*\}/, '')
    .replace(',', ' ')
    .trim()
  return outside === '' ? named : [outside.startsWith('*') ? '*' : 'default', ...named]
}

const TOKEN =
  /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|\/(?![*/ ])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[dgimsuvy]*/g

/** A regular expression is left as it is: with it the quotes inside it do not look like strings. */
function withoutCommentsAndStrings(text: string): string {
  return text.replace(TOKEN, (token) => {
    if (token.startsWith('/*') || token.startsWith('//')) return ' '
    return token.startsWith('/') ? token : "''"
  })
}
