import { closeSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parseDocument } from 'yaml'
import type { z } from 'zod'
import { LsxError } from '../runtime/index.ts'
import { interpolate } from './interpolate.ts'
import type { ConfigProblem } from './problem.ts'

const MAX_CONFIG_BYTES = 4_194_304

/**
 * Reads a YAML file into a frozen, typed configuration. The schema is made for the file's folder, to which relative
 * paths belong. All problems are reported at once.
 *
 * @throws LsxError BAD_REQUEST (party self) with `facts.problems`; REFUSED (party self) when others can write the file
 */
export function loadConfig<T>(
  file: string,
  schemaFor: (baseDir: string) => z.ZodType<T>,
  env: Readonly<Record<string, string | undefined>>,
): T {
  const path = resolve(file)
  const { text, mode } = readText(path)
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true })
  if (document.errors.length > 0) {
    throw configError(
      path,
      document.errors.map((error) => ({ path: '', message: error.message.split('\n', 1)[0] ?? '' })),
    )
  }
  const unfilled = interpolate(document, env)
  const parsed = schemaFor(dirname(path)).safeParse(toPlain(document, path))
  if (!parsed.success || unfilled.length > 0) {
    // What was not filled in is of the wrong type for that reason alone.
    const known = new Set(unfilled.map((problem) => problem.path))
    const others = (parsed.error?.issues ?? []).flatMap(describeIssue).filter((problem) => !known.has(problem.path))
    throw configError(path, [...unfilled, ...others])
  }
  const problem = configFileProblem(path, mode)
  if (problem !== undefined && !isPermissive(parsed.data))
    throw new LsxError('REFUSED', problem, { party: 'self', facts: { file: path } })
  return deepFreeze(parsed.data)
}

/** The open file is judged, not the path: nobody can swap it in between. */
function readText(path: string): { text: string; mode: number } {
  try {
    const descriptor = openSync(path, 'r')
    try {
      const text = readFileSync(descriptor, 'utf8')
      if (text.length > MAX_CONFIG_BYTES) throw new Error(`larger than ${MAX_CONFIG_BYTES} bytes`)
      return { text, mode: fstatSync(descriptor).mode }
    } finally {
      closeSync(descriptor)
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new LsxError('BAD_REQUEST', `cannot read the configuration ${path}: ${why}`, { cause, party: 'self' })
  }
}

/** Whoever can write the configuration decides whom the daemon believes. Undefined when that is its owner alone. */
export function configFileProblem(file: string, mode: number = statSync(file).mode): string | undefined {
  if ((mode & 0o022) === 0) return undefined
  const who = (mode & 0o002) === 0 ? 'its group' : 'anybody'
  const octal = (mode & 0o777).toString(8).padStart(3, '0')
  return `${file} can be changed by ${who} (mode ${octal}); run: chmod go-w ${file}`
}

function isPermissive(config: unknown): boolean {
  return (config as { security?: { mode?: unknown } } | null)?.security?.mode === 'permissive'
}

function toPlain(document: ReturnType<typeof parseDocument>, path: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 50 })
  } catch (cause) {
    throw configError(path, [{ path: '', message: cause instanceof Error ? cause.message : String(cause) }])
  }
}

function describeIssue(issue: z.core.$ZodIssue): ConfigProblem[] {
  const path = issue.path.map(String).join('.')
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: path === '' ? key : `${path}.${key}`, message: 'unknown option' }))
  }
  return [{ path, message: issue.message }]
}

function configError(file: string, problems: readonly ConfigProblem[]): LsxError {
  const lines = problems.map(({ path, message }) => `  ${path === '' ? '' : `${path}: `}${message}`)
  return new LsxError('BAD_REQUEST', `${file} is not a valid configuration:\n${lines.join('\n')}`, {
    party: 'self',
    facts: { problems },
  })
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  for (const inner of Object.values(value)) deepFreeze(inner)
  return Object.freeze(value)
}
