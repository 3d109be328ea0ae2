import { z } from 'zod'
import type { DropCause } from '../../channel/index.ts'
import { type ErrorCode, isErrorCode } from '../../runtime/index.ts'

/** One change of a channel's state. The link is up in `connected` and in no other state. */
export interface Transition {
  /** Wall time, Unix ms. */
  readonly atMs: number
  readonly bankCode: string
  readonly from: string
  readonly to: string
  /** Why, for a drop or a failed attempt. */
  readonly cause?: DropCause | undefined
  readonly code?: ErrorCode | undefined
  readonly detail?: string | undefined
  /** Lower-case hex. */
  readonly sessionId?: string | undefined
  readonly epoch?: number | undefined
  /** Time spent in `from`. */
  readonly durationMs: number
}

export const UP_STATE = 'connected'
const MAX_DETAIL_CHARACTERS = 500

const CAUSES = {
  dns: 'dns',
  tcp: 'tcp',
  tls: 'tls',
  upgrade: 'upgrade',
  kx: 'kx',
  echo: 'echo',
  'peer-close': 'peer-close',
  local: 'local',
  policy: 'policy',
} as const satisfies { readonly [cause in DropCause]: cause }

const stateName = z.string().regex(/^[a-z-]{1,32}$/)

const transitionSchema = z.strictObject({
  atMs: z.number().min(0).max(Number.MAX_SAFE_INTEGER),
  bankCode: z.string().regex(/^[A-Za-z0-9._-]{1,32}$/),
  from: stateName,
  to: stateName,
  cause: z.enum(CAUSES).optional(),
  code: z.custom<ErrorCode>(isErrorCode).optional(),
  detail: z.string().max(MAX_DETAIL_CHARACTERS).optional(),
  sessionId: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional(),
  epoch: z.number().min(0).max(0xffff).optional(),
  durationMs: z.number().min(0).max(Number.MAX_SAFE_INTEGER),
})

/** Throws when `value` is not a transition. */
export function validateTransition(value: unknown): Transition {
  return transitionSchema.parse(value)
}

/** The transition as it is kept: whole milliseconds, a short detail, no empty fields. Throws when it is none. */
export function keptTransition(transition: Transition): Transition {
  const kept: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(transition)) if (value !== undefined) kept[name] = value
  kept.atMs = Math.max(0, Math.round(transition.atMs))
  kept.durationMs = Math.max(0, Math.round(transition.durationMs))
  if (transition.detail !== undefined) kept.detail = transition.detail.slice(0, MAX_DETAIL_CHARACTERS)
  return validateTransition(kept)
}

export function isUp(state: string): boolean {
  return state === UP_STATE
}
