import { existsSync } from 'node:fs'
import { z } from 'zod'
import { PUBLIC_MODE, readPublicFile, writeFileAtomic } from '../certs/index.ts'

/**
 * ```
 * next ──activate──> active ──activate of another──> retired ──overlap over──> (removed)
 * ```
 */
export type KeyState = 'next' | 'active' | 'retired'

/** What is known of a key beside the key itself. Times are Unix ms. */
export interface KeyFacts {
  readonly keyId: string
  readonly state: KeyState
  readonly createdAtMs: number
  /** When it was put to use, or for the next key, when it is to be; undefined: by command. */
  readonly activeFromMs: number | undefined
  /** When a retired key may go. */
  readonly retireAtMs: number | undefined
}

const manifestSchema = z.object({
  version: z.literal(1),
  keys: z
    .array(
      z.object({
        keyId: z.string().min(1).max(64),
        state: z.enum(['next', 'active', 'retired']),
        createdAt: z.iso.datetime(),
        activeFrom: z.iso.datetime().optional(),
        retireAt: z.iso.datetime().optional(),
      }),
    )
    .max(64),
})

/**
 * The times of a ring's keys, in a file without secrets. Which key is which is told by the key files alone: a manifest
 * that is lost or damaged costs times, never a key.
 */
export function readManifest(path: string): readonly KeyFacts[] {
  if (!existsSync(path)) return []
  const text = readPublicFile(path).toString()
  const parsed = manifestSchema.safeParse(jsonOf(text))
  if (!parsed.success) return []
  return parsed.data.keys.map(({ keyId, state, createdAt, activeFrom, retireAt }) => ({
    keyId,
    state,
    createdAtMs: Date.parse(createdAt),
    activeFromMs: activeFrom === undefined ? undefined : Date.parse(activeFrom),
    retireAtMs: retireAt === undefined ? undefined : Date.parse(retireAt),
  }))
}

export function writeManifest(path: string, keys: readonly KeyFacts[]): void {
  const manifest = {
    version: 1,
    keys: keys.map(({ keyId, state, createdAtMs, activeFromMs, retireAtMs }) => ({
      keyId,
      state,
      createdAt: isoTime(createdAtMs),
      ...(activeFromMs === undefined ? {} : { activeFrom: isoTime(activeFromMs) }),
      ...(retireAtMs === undefined ? {} : { retireAt: isoTime(retireAtMs) }),
    })),
  }
  writeFileAtomic(path, `${JSON.stringify(manifest, undefined, 2)}\n`, PUBLIC_MODE)
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
