import { setTimeout as delay } from 'node:timers/promises'
import { LsxError, type Reply } from '../lib/ipc/index.ts'
import { AppSession } from './app-session.ts'
import { AppendLog, readLog } from './append-log.ts'
import { type AppEvent, type AttemptEnd, attemptsOf } from './history.ts'
import { KeyState } from './key-state.ts'
import { monotonicMs } from './monotonic.ts'
import { Prng } from './prng.ts'
import { contentOf, drawTimeoutMs, type Mix, payloadOf } from './workload.ts'

export interface AppOptions {
  /** Names the app, its keys and its file. */
  readonly name: string
  readonly mix: Mix
  readonly socket: string
  readonly logFile: string
  /** Requests that it keeps open at once. */
  readonly slots: number
  readonly thinkMs: { readonly from: number; readonly to: number }
}

/** Attempts at a key while faults go on; what is open then waits for calm weather. */
const MAX_ATTEMPTS_IN_STORM = 12
/** In calm weather a key is asked again until it is final, or as often as this; its last view counts. */
const CALM_ROUNDS = 4
const CALM_TIMEOUT_MS = 10_000
const CALM_PAUSE_MS = 400

interface AskAgain {
  readonly state: KeyState
  readonly dueMs: number
}

/**
 * One app: asks, writes down each attempt before it is made and each end that it sees, and asks again with the same key
 * where it does not know. Started again after a kill it goes on from its file.
 */
export class AppDriver {
  readonly #options: AppOptions
  readonly #prng: Prng
  readonly #session: AppSession
  readonly #log: AppendLog<AppEvent>
  readonly #open = new Map<string, KeyState>()
  #again: AskAgain[] = []
  #answered: string[] = []
  #nextAttempt = 1
  #nextOwnKey = 1
  #nextSharedKey = 1
  readonly #stopping = new AbortController()
  readonly #calm = new AbortController()

  constructor(options: AppOptions) {
    this.#options = options
    const events = readLog<AppEvent>(options.logFile)
    this.#prng = new Prng(`${options.mix.seed}/app/${options.name}/${events.length}`)
    this.#session = new AppSession(options.socket)
    this.#recover(events)
    this.#log = new AppendLog(options.logFile)
  }

  get openKeys(): number {
    return this.#open.size
  }

  /** Asks until `calmDown`; resolves when every key is final, or was asked often enough in calm weather. */
  async run(): Promise<void> {
    await Promise.all(Array.from({ length: this.#options.slots }, () => this.#serveSlot()))
    for (let round = 0; round < CALM_ROUNDS && this.#open.size > 0; round++) {
      if (round > 0) await delay(CALM_PAUSE_MS)
      await this.#askAllOpen()
    }
    await this.#session.close()
    await this.#log.close()
  }

  /** Gives up what it waits for. */
  stop(): void {
    this.#calm.abort()
    this.#stopping.abort()
  }

  /** The faults are over: nothing new is asked, and what is open is asked to its end. */
  calmDown(): void {
    this.#calm.abort()
  }

  #recover(events: readonly AppEvent[]): void {
    for (const { key, n, outcome, altered } of attemptsOf(this.#options.name, events)) {
      this.#nextAttempt = Math.max(this.#nextAttempt, n + 1)
      if (key.startsWith('shared-')) this.#nextSharedKey = Math.max(this.#nextSharedKey, Number(key.slice(7)) + 1)
      else this.#nextOwnKey = Math.max(this.#nextOwnKey, Number(key.slice(key.lastIndexOf('-') + 1)) + 1)
      if (!altered) this.#note(this.#stateOf(key), outcome)
    }
  }

  async #serveSlot(): Promise<void> {
    while (!this.#calm.signal.aborted) {
      await this.#takeTurn()
      const { from, to } = this.#options.thinkMs
      await delay(this.#prng.integer(from, to))
    }
  }

  async #takeTurn(): Promise<void> {
    const nowMs = monotonicMs()
    const dueIndex = this.#again.findIndex(({ dueMs }) => dueMs <= nowMs)
    const [due] = dueIndex < 0 ? [] : this.#again.splice(dueIndex, 1)
    if (due !== undefined) await this.#ask(due.state.key)
    else if (this.#answered.length > 0 && this.#prng.chance(0.12)) await this.#repeat()
    else await this.#askNew()
  }

  async #askNew(): Promise<void> {
    const { name } = this.#options
    const key = this.#prng.chance(0.1) ? `shared-${this.#nextSharedKey++}` : `${name}-${this.#nextOwnKey++}`
    // Now and then twice at the same time.
    const copies = this.#prng.chance(0.05) ? 2 : 1
    await Promise.all(Array.from({ length: copies }, () => this.#ask(key)))
  }

  /** An answered key once more, or another request under its name. */
  async #repeat(): Promise<void> {
    const key = this.#prng.pick(this.#answered)
    if (this.#prng.chance(0.2)) await this.#attempt(key, drawTimeoutMs(this.#prng), true)
    else await this.#ask(key)
  }

  async #ask(key: string, timeoutMs = drawTimeoutMs(this.#prng)): Promise<void> {
    const end = await this.#attempt(key, timeoutMs, false)
    if (end === undefined) return
    const state = this.#stateOf(key)
    this.#note(state, end)
    if (end !== 'answered') this.#askAgainLater(state)
  }

  #note(state: KeyState, end: AttemptEnd): void {
    state.note(end)
    if (end === 'answered' && state.attempts === 1) this.#answered.push(state.key)
    // Repeated keys are drawn from the last thousand, which is what memory needs.
    if (this.#answered.length > 1_000) this.#answered = this.#answered.slice(-500)
    if (state.isFinal) this.#open.delete(state.key)
  }

  #askAgainLater(state: KeyState): void {
    if (state.attempts >= MAX_ATTEMPTS_IN_STORM) return
    // A refusal is final, but the app may try again.
    if (state.isFinal && !this.#prng.chance(0.2)) return
    const pauseMs = state.last === 'lost' ? this.#prng.integer(5, 150) : this.#prng.integer(100, 1_500)
    this.#again.push({ state, dueMs: monotonicMs() + pauseMs })
  }

  async #askAllOpen(): Promise<void> {
    const keys = [...this.#open.keys()]
    const next = async (): Promise<void> => {
      for (let key = keys.pop(); key !== undefined; key = keys.pop()) await this.#ask(key, CALM_TIMEOUT_MS)
    }
    await Promise.all(Array.from({ length: this.#options.slots }, next))
  }

  /** Undefined when there was no lsd to ask before the harness had enough. */
  async #attempt(key: string, timeoutMs: number, altered: boolean): Promise<AttemptEnd | undefined> {
    const { mix } = this.#options
    const client = await this.#session.client(this.#stopping.signal)
    const n = this.#nextAttempt++
    // Open from here on: after a kill the file says so too.
    if (!altered) this.#stateOf(key)
    await this.#log.append({ e: 'submit', t: monotonicMs(), key, n, timeoutMs, ...(altered ? { altered } : {}) })
    const content = contentOf(mix, key)
    const { bankCode: to, method, durable } = content
    try {
      const reply = await client.request({ to, method, payload: payloadOf(content, altered), key, timeoutMs, durable })
      await this.#log.append({ e: 'end', t: monotonicMs(), key, n, ...seenOf(reply) })
      return reply.outcome
    } catch (error) {
      const code = error instanceof LsxError ? error.code : 'INTERNAL'
      const outcome = code === 'IN_DOUBT' ? 'lost' : 'unsent'
      await this.#log.append({ e: 'end', t: monotonicMs(), key, n, outcome, code })
      return outcome
    }
  }

  #stateOf(key: string): KeyState {
    let state = this.#open.get(key)
    if (state === undefined) {
      state = new KeyState(key)
      this.#open.set(key, state)
    }
    return state
  }
}

function seenOf(reply: Reply): { outcome: Reply['outcome']; code?: string; receipt?: string; echo?: string } {
  const { outcome, code, payload } = reply
  const { receipt, key } = typeof payload === 'object' && payload !== null ? (payload as Record<string, unknown>) : {}
  return {
    outcome,
    ...(code === undefined ? {} : { code }),
    ...(typeof receipt === 'string' ? { receipt } : {}),
    ...(typeof key === 'string' ? { echo: key } : {}),
  }
}
