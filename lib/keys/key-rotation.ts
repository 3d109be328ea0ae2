import { existsSync } from 'node:fs'
import { type Clock, describeError, type Logger, LsxError, type Service, type TimerHandle } from '../runtime/index.ts'
import type { KeyKindName } from './key-kind.ts'
import type { KeyRing, RingKey } from './key-ring.ts'

/** One ring as a daemon looks after it. */
export interface RotatedRing {
  readonly ring: KeyRing
  /** Age of the active key at which a rotation is due. */
  readonly rotateAfterMs: number
  /** The daemon rotates by itself when it is due: no other party has to do anything. */
  readonly isAutomatic: boolean
  /** The next key is published this long before it is used. */
  readonly aheadMs: number
  /** Takes the active key into use. Throws, or rejects, where that cannot be: then it is tried again. */
  readonly onActivated: () => void | Promise<void>
  /** Whether a retired key whose overlap is over is needed no more. */
  readonly mayRemove?: (key: RingKey) => boolean
}

export interface KeyRotationOptions {
  readonly rings: readonly RotatedRing[]
  /** For the audit log: what happened to which key. */
  readonly onEvent?: ((facts: Readonly<Record<string, unknown>>) => void) | undefined
  readonly clock: Clock
  readonly logger: Logger
  readonly checkEveryMs?: number
}

/** A key as operators see it. Times are ISO. */
export interface KeyStatus {
  readonly kind: KeyKindName
  readonly keyId: string
  readonly state: string
  readonly file: string
  readonly createdAt: string
  readonly activeFrom: string | undefined
  readonly ageDays: number
  /** When a rotation is due; of the active key only. */
  readonly rotateBy: string | undefined
  readonly isDue: boolean
  readonly retireAt: string | undefined
  readonly publicKey: string | undefined
}

/** What an operator asks for. */
export interface RotationOrder {
  readonly kind: KeyKindName
  /** `prepare` makes the next key, `activate` makes it and puts it to use. */
  readonly act: 'prepare' | 'activate'
  /** With `prepare`: when the daemon is to activate it; undefined: by command. Unix ms. */
  readonly atMs?: number | undefined
}

const CHECK_MS = 60_000
const DAY_MS = 86_400_000

/**
 * Looks after a daemon's keys: activates what was planned, rotates by itself where nobody else is concerned, removes
 * retired keys at the end of their overlap, and says when a rotation is due.
 */
export class KeyRotation implements Service {
  readonly name = 'key rotation'
  readonly #options: KeyRotationOptions
  #due: readonly KeyKindName[] = []
  readonly #warnedAtMs = new Map<KeyRing, number>()
  #timer: TimerHandle | undefined
  #isStopped = false

  constructor(options: KeyRotationOptions) {
    this.#options = options
  }

  /** A crash may have interrupted a rotation: what is beside the keys is put right. */
  async start(): Promise<void> {
    const { rings, clock } = this.#options
    for (const { ring } of rings) ring.repair(clock.nowMs())
    await this.check()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    if (this.#timer !== undefined) this.#options.clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }

  /** Kinds whose rotation is due and waits for somebody, as of the last round. */
  get due(): readonly KeyKindName[] {
    return this.#due
  }

  /** Throws for keys that cannot be used: permissions, damage. */
  status(): readonly KeyStatus[] {
    return this.#options.rings.flatMap((rotated) =>
      existsSync(rotated.ring.file) ? rotated.ring.look().map((key) => this.#statusOf(rotated, key)) : [],
    )
  }

  /** @throws LsxError BAD_REQUEST: no such kind here; REFUSED, party self: files */
  async rotate({ kind, act, atMs }: RotationOrder): Promise<readonly KeyStatus[]> {
    const rotated = this.#options.rings.find(({ ring }) => ring.kind.name === kind)
    if (rotated === undefined)
      throw new LsxError('BAD_REQUEST', `this daemon has no ${kind} key of its own`, { facts: { kind } })
    const { ring } = rotated
    const nowMs = this.#options.clock.nowMs()
    const next = ring.prepare(nowMs, act === 'activate' ? nowMs : atMs)
    this.#log(next, 'the next key is ready')
    if (act === 'activate') await this.#activate(rotated)
    return ring.look().map((key) => this.#statusOf(rotated, key))
  }

  /** One round of what is due. Never rejects: what fails is logged and tried again. */
  async check(): Promise<void> {
    const { rings, clock, logger, checkEveryMs = CHECK_MS } = this.#options
    const due: KeyKindName[] = []
    for (const rotated of rings) {
      try {
        if (existsSync(rotated.ring.file) && (await this.#checkRing(rotated))) due.push(rotated.ring.kind.name)
      } catch (error) {
        logger.error(
          { kind: rotated.ring.kind.name, file: rotated.ring.file, error: describeError(error) },
          'a key cannot be looked after; trying again',
        )
      }
    }
    this.#due = due
    if (this.#isStopped) return
    if (this.#timer !== undefined) clock.cancelTimer(this.#timer)
    this.#timer = clock.startTimer(checkEveryMs, () => void this.check())
  }

  /** True where a rotation is due that the daemon does not make by itself. */
  async #checkRing(rotated: RotatedRing): Promise<boolean> {
    const { ring, isAutomatic, aheadMs, mayRemove } = rotated
    const nowMs = this.#options.clock.nowMs()
    const keys = ring.look()
    const active = keys.find(({ state }) => state === 'active')
    let next = keys.find(({ state }) => state === 'next')
    const isDue = next === undefined && active !== undefined && this.#isDue(rotated, active)
    if (isDue) {
      if (!isAutomatic) this.#warnDue(rotated, active)
      else {
        next = ring.prepare(nowMs, nowMs + aheadMs)
        this.#log(next, 'a rotation is due: the next key is ready')
      }
    }
    if (next?.activeFromMs !== undefined && next.activeFromMs <= nowMs) await this.#activate(rotated)
    for (const key of ring.removeRetired(nowMs, mayRemove)) this.#log(key, 'a retired key was removed')
    return isDue && !isAutomatic
  }

  async #activate(rotated: RotatedRing): Promise<void> {
    const active = rotated.ring.activate(this.#options.clock.nowMs())
    this.#log(active, 'a key was rotated')
    await rotated.onActivated()
  }

  #statusOf(rotated: RotatedRing, key: RingKey): KeyStatus {
    const nowMs = this.#options.clock.nowMs()
    const { kind, keyId, state, file, createdAtMs, activeFromMs, retireAtMs, publicText } = key
    return {
      kind,
      keyId,
      state,
      file,
      createdAt: new Date(createdAtMs).toISOString(),
      activeFrom: isoTime(activeFromMs),
      ageDays: Math.max(0, Math.floor((nowMs - createdAtMs) / DAY_MS)),
      rotateBy: state === 'active' ? isoTime((activeFromMs ?? createdAtMs) + rotated.rotateAfterMs) : undefined,
      isDue: state === 'active' && this.#isDue(rotated, key),
      retireAt: isoTime(retireAtMs),
      publicKey: publicText,
    }
  }

  #isDue({ rotateAfterMs, isAutomatic, aheadMs }: RotatedRing, key: RingKey): boolean {
    const dueAtMs = (key.activeFromMs ?? key.createdAtMs) + rotateAfterMs - (isAutomatic ? aheadMs : 0)
    return this.#options.clock.nowMs() >= dueAtMs
  }

  #warnDue({ ring }: RotatedRing, key: RingKey): void {
    const { clock, logger } = this.#options
    const nowMs = clock.nowMs()
    if (nowMs - (this.#warnedAtMs.get(ring) ?? Number.NEGATIVE_INFINITY) < DAY_MS) return
    this.#warnedAtMs.set(ring, nowMs)
    const ageDays = Math.floor((nowMs - key.createdAtMs) / DAY_MS)
    logger.warn(
      { kind: key.kind, keyId: key.keyId, file: key.file, ageDays },
      `the ${key.kind} key is due for rotation: lsctl keys rotate --kind ${key.kind}`,
    )
  }

  #log({ kind, keyId, state, file, activeFromMs, retireAtMs, publicText }: RingKey, what: string): void {
    const facts = { activeFrom: isoTime(activeFromMs), retireAt: isoTime(retireAtMs), publicKey: publicText }
    this.#options.logger.info({ audit: true, kind, keyId, state, file, ...facts }, what)
    this.#options.onEvent?.({ kind, keyId, state, ...facts, message: what })
  }
}

function isoTime(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString()
}
