import { isDeepStrictEqual } from 'node:util'
import type { LsConfig } from './config.ts'

/** What a reload applies; config/ls.yaml marks the same options. All else stays as it was at the start. */
const RELOADED: ReadonlySet<string> = new Set([
  'tls',
  'listen.allow',
  'requests',
  'durable.default',
  'ilp',
  'kx',
  'rekey',
  'tokens',
  'echo',
  'drain',
  'quarantine',
  'banks',
])

export interface Reloaded {
  /** The options of the start, with those that a reload applies taken from the file as it is now. */
  readonly config: LsConfig
  /** Paths of the options that differ from those of the start and wait for the next one. */
  readonly needRestart: readonly string[]
}

export function reloaded(started: LsConfig, file: LsConfig): Reloaded {
  const needRestart: string[] = []
  const config = mergeSection(started, file, '', needRestart)
  return { config: config as unknown as LsConfig, needRestart }
}

function mergeSection(started: object, file: object, prefix: string, needRestart: string[]): object {
  const before = started as Record<string, unknown>
  const now = file as Record<string, unknown>
  const merged: Record<string, unknown> = {}
  for (const name of new Set([...Object.keys(before), ...Object.keys(now)])) {
    const path = `${prefix}${name}`
    if (RELOADED.has(path)) merged[name] = now[name]
    else if (isSection(before[name]) && isSection(now[name])) {
      merged[name] = mergeSection(before[name], now[name], `${path}.`, needRestart)
    } else {
      merged[name] = before[name]
      if (!isDeepStrictEqual(before[name], now[name])) needRestart.push(path)
    }
  }
  return Object.freeze(merged)
}

function isSection(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
