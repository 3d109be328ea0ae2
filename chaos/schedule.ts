import { FAILPOINTS, type FailpointName } from '../lib/runtime/index.ts'
import { Prng } from './prng.ts'
import { BANKS, type BankCode } from './workload.ts'

export type DaemonName = 'lsd' | `xchanged-${BankCode}`

/** These have a small disk of their own for their store, where the machine allows it. */
export const DISK_FAULT_DAEMONS = ['lsd', 'xchanged-044'] as const
export type DiskFaultDaemon = (typeof DISK_FAULT_DAEMONS)[number]

/** What happens to the socket between LS and a bank. */
export type LinkFault =
  | {
      readonly kind: 'latency' | 'trickle' | 'slow-reader' | 'black-hole'
      readonly bank: BankCode
      readonly durationMs: number
    }
  /** FIN, RST. */
  | { readonly kind: 'cut' | 'reset'; readonly bank: BankCode }

/** What happens to the system, and to which part of it. */
export type Fault =
  | { readonly kind: 'kill'; readonly daemon: DaemonName }
  /** Ends and comes back with a failpoint armed, where it kills itself. */
  | {
      readonly kind: 'failpoint'
      readonly daemon: DaemonName
      readonly failpoint: FailpointName
      readonly count: number
    }
  /** SIGTERM. */
  | { readonly kind: 'drain'; readonly daemon: DaemonName }
  /** SIGSTOP, longer than the echo's limit. */
  | { readonly kind: 'stop'; readonly daemon: DaemonName; readonly durationMs: number }
  | LinkFault
  /** New keys every few frames. */
  | { readonly kind: 'rekey-storm'; readonly durationMs: number }
  | { readonly kind: 'clock-jump'; readonly daemon: DaemonName; readonly offsetMs: number; readonly durationMs: number }
  /** The disk of its store has this much left. */
  | {
      readonly kind: 'disk-full'
      readonly daemon: DiskFaultDaemon
      readonly leftBytes: number
      readonly durationMs: number
    }
  /** Comes back with a disk that fails to sync now and then. */
  | { readonly kind: 'sync-error'; readonly daemon: DaemonName; readonly first: number; readonly durationMs: number }
  | { readonly kind: 'app-kill'; readonly app: number }
  | { readonly kind: 'app-stop'; readonly app: number; readonly durationMs: number }

export type FaultKind = Fault['kind']

export const FAULT_KINDS: readonly FaultKind[] = [
  'kill',
  'failpoint',
  'drain',
  'stop',
  'latency',
  'trickle',
  'slow-reader',
  'black-hole',
  'cut',
  'reset',
  'rekey-storm',
  'clock-jump',
  'disk-full',
  'sync-error',
  'app-kill',
  'app-stop',
]

export interface ScheduledFault {
  /** After the beginning of the load. */
  readonly atMs: number
  readonly fault: Fault
}

export interface ScheduleOptions {
  readonly seed: string
  readonly seconds: number
  readonly apps: number
  readonly kinds: readonly FaultKind[]
}

const FIRST_MS = 1_000
/** Before the end: a fault needs some time to show. */
const LAST_MS = 1_000
const GAP_MS = { from: 300, to: 2_200 } as const
/** Between two faults that end or hold the same part, so that it gets to do something in between. */
const REST_MS = 3_000

const LS_STEPS = ['journal-accept', 'send', 'settle', 'kx-send', 'epoch-switch']
const XCHANGE_STEPS = ['kx-send', 'epoch-switch', 'handler-begin', 'handler-end', 'response-send']

/** The faults of a run: the same for the same options, whatever happens in the run. */
export function makeSchedule(options: ScheduleOptions): ScheduledFault[] {
  const prng = new Prng(`${options.seed}/schedule`)
  const deck = new FaultDeck(prng, options)
  const restUntilMs = new Map<string, number>()
  const schedule: ScheduledFault[] = []
  const endMs = options.seconds * 1_000 - LAST_MS
  for (let atMs = FIRST_MS; atMs < endMs; atMs += prng.integer(GAP_MS.from, GAP_MS.to)) {
    const fault = deck.deal((part) => (restUntilMs.get(part) ?? 0) <= atMs, endMs - atMs)
    if (fault === undefined) continue
    restUntilMs.set(partOf(fault), atMs + REST_MS + durationOf(fault))
    schedule.push({ atMs, fault })
  }
  return schedule
}

/** What two faults must not happen to at the same time. */
function partOf(fault: Fault): string {
  if ('daemon' in fault) return fault.daemon
  if ('bank' in fault) return `link-${fault.bank}`
  return 'app' in fault ? `app-${fault.app}` : fault.kind
}

export function durationOf(fault: Fault): number {
  return 'durationMs' in fault ? fault.durationMs : 0
}

interface Card {
  readonly kind: FaultKind
  readonly part: string
  readonly make: (longestMs: number) => Fault
}

/** Every kind comes up before any comes again, so that a short run has a bit of everything. */
class FaultDeck {
  readonly #prng: Prng
  readonly #kinds: ReadonlySet<FaultKind>
  readonly #apps: number
  #cards: Card[] = []
  readonly #failpoints = new Map<DaemonName, FailpointName[]>()

  constructor(prng: Prng, options: ScheduleOptions) {
    this.#prng = prng
    this.#kinds = new Set(options.kinds)
    this.#apps = options.apps
  }

  /** The next fault whose part is free; the ones passed over stay on top. */
  deal(isFree: (part: string) => boolean, leftMs: number): Fault | undefined {
    if (this.#cards.length === 0) this.#cards = this.#shuffledCards()
    const index = this.#cards.findIndex(({ part }) => isFree(part))
    if (index < 0) return undefined
    const [card] = this.#cards.splice(index, 1)
    return card?.make(Math.max(300, leftMs))
  }

  #shuffledCards(): Card[] {
    const prng = this.#prng
    const daemons: readonly DaemonName[] = ['lsd', ...BANKS.map((bank) => `xchanged-${bank}` as const)]
    const anyDaemon = () => prng.pick(['lsd', ...daemons] as const)
    const anyApp = () => prng.integer(0, this.#apps - 1)
    const cards = [
      ...['lsd' as const, ...daemons].flatMap((daemon) => [
        this.#daemonCard('kill', daemon, () => ({ kind: 'kill', daemon })),
        this.#daemonCard('failpoint', daemon, () => this.#failpointOf(daemon)),
        this.#daemonCard('failpoint', daemon, () => this.#failpointOf(daemon)),
      ]),
      ...[anyDaemon()].map((daemon) => this.#daemonCard('drain', daemon, () => ({ kind: 'drain', daemon }))),
      ...['lsd' as const, anyDaemon()].map((daemon) =>
        this.#daemonCard('stop', daemon, (max) => ({
          kind: 'stop',
          daemon,
          durationMs: this.#time(2_500, 4_000, max),
        })),
      ),
      ...[anyDaemon(), anyDaemon()].map((daemon) =>
        this.#daemonCard('clock-jump', daemon, (max) => this.#clockJump(daemon, this.#time(1_000, 4_000, max))),
      ),
      ...DISK_FAULT_DAEMONS.map((daemon) =>
        this.#daemonCard('disk-full', daemon, (max) => this.#diskFull(daemon, this.#time(1_000, 3_000, max))),
      ),
      ...(['lsd', 'xchanged-058'] as const).map((daemon) =>
        this.#daemonCard('sync-error', daemon, (max) => {
          return { kind: 'sync-error', daemon, first: prng.integer(10, 60), durationMs: this.#time(2_000, 4_000, max) }
        }),
      ),
      ...BANKS.flatMap((bank) => [
        this.#linkCard('latency', bank, 5_000),
        this.#linkCard('black-hole', bank, 4_000),
        this.#linkCard('cut', bank),
        this.#linkCard('reset', bank),
      ]),
      this.#linkCard('trickle', prng.pick(BANKS), 3_000),
      this.#linkCard('slow-reader', prng.pick(BANKS), 3_000),
      {
        kind: 'rekey-storm',
        part: 'rekey-storm',
        make: (max) => ({ kind: 'rekey-storm', durationMs: this.#time(1_500, 4_000, max) }),
      },
      ...[anyApp()].map(
        (app): Card => ({ kind: 'app-kill', part: `app-${app}`, make: () => ({ kind: 'app-kill', app }) }),
      ),
      ...[anyApp()].map((app): Card => {
        const make = (max: number): Fault => ({ kind: 'app-stop', app, durationMs: this.#time(1_000, 3_000, max) })
        return { kind: 'app-stop', part: `app-${app}`, make }
      }),
    ] satisfies Card[]
    return prng.shuffled(cards.filter(({ kind }) => this.#kinds.has(kind)))
  }

  #daemonCard(kind: FaultKind, daemon: DaemonName, make: Card['make']): Card {
    return { kind, part: daemon, make }
  }

  /** Of `longestMs` at most; one that has no duration is over at once. */
  #linkCard(kind: 'latency' | 'trickle' | 'slow-reader' | 'black-hole', bank: BankCode, longestMs: number): Card
  #linkCard(kind: 'cut' | 'reset', bank: BankCode): Card
  #linkCard(kind: LinkFault['kind'], bank: BankCode, longestMs = 0): Card {
    const make = (max: number): Fault =>
      kind === 'cut' || kind === 'reset' ? { kind, bank } : { kind, bank, durationMs: this.#time(500, longestMs, max) }
    return { kind, part: `link-${bank}`, make }
  }

  #time(fromMs: number, toMs: number, longestMs: number): number {
    return Math.min(longestMs, this.#prng.integer(fromMs, toMs))
  }

  /** Each failpoint of a daemon once before any comes again. */
  #failpointOf(daemon: DaemonName): Fault {
    let left = this.#failpoints.get(daemon) ?? []
    if (left.length === 0) {
      const steps = daemon === 'lsd' ? LS_STEPS : XCHANGE_STEPS
      left = this.#prng.shuffled(FAILPOINTS.filter((name) => steps.includes(name.slice(0, name.indexOf(':')))))
    }
    this.#failpoints.set(daemon, left.slice(1))
    const failpoint = left[0] ?? 'send:before'
    const isOfKx = failpoint.startsWith('kx-') || failpoint.startsWith('epoch-')
    const count = isOfKx ? this.#prng.integer(1, 3) : this.#prng.integer(1, 60)
    return { kind: 'failpoint', daemon, failpoint, count }
  }

  /** Within what a key exchange allows, or far out of it; forwards or backwards. */
  #clockJump(daemon: DaemonName, durationMs: number): Fault {
    const prng = this.#prng
    const sizeMs = prng.chance(0.5) ? prng.integer(5_000, 50_000) : prng.integer(600_000, 7_200_000)
    return { kind: 'clock-jump', daemon, offsetMs: prng.chance(0.5) ? sizeMs : -sizeMs, durationMs }
  }

  /** Nothing left, or so much that only what is begun may be finished. */
  #diskFull(daemon: DiskFaultDaemon, durationMs: number): Fault {
    return { kind: 'disk-full', daemon, leftBytes: this.#prng.chance(0.5) ? 0 : 48 * 1024 ** 2, durationMs }
  }
}
