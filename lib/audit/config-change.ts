import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'

/** SHA-256 of a configuration in force, whatever the order of its options. It holds paths of secrets, never secrets. */
export function configDigest(config: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(config)))
    .digest('base64url')
}

/** Paths of the options that differ. Banks are named by their code: `banks.044.allow`. */
export function changedPaths(before: unknown, after: unknown, path = ''): string[] {
  if (isDeepStrictEqual(before, after)) return []
  const [left, right] = [partsOf(before), partsOf(after)]
  if (left === undefined || right === undefined) return [path]
  return [...new Set([...left.keys(), ...right.keys()])].flatMap((name) =>
    changedPaths(left.get(name), right.get(name), path === '' ? name : `${path}.${name}`),
  )
}

function partsOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (!Array.isArray(value)) return new Map(Object.entries(value))
  const codes = value.map((item: unknown) => (item as { code?: unknown } | null)?.code)
  return codes.every((code) => typeof code === 'string')
    ? new Map(value.map((item, index) => [String(codes[index]), item]))
    : undefined
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1))
  return Object.fromEntries(entries.map(([name, item]) => [name, sorted(item)]))
}
