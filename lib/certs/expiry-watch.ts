import type { Clock, Logger, Service, TimerHandle } from '../runtime/index.ts'
import { type CertificateFacts, daysLeft } from './certificate.ts'
import { EXPIRY_WARNING_DAYS } from './check.ts'

const CHECK_MS = 3_600_000
const DAY_MS = 86_400_000

/** Warns each day that a daemon's own certificate is about to end, from 30 days before on. */
export class ExpiryWatch implements Service {
  readonly name = 'certificate expiry'
  readonly #options: {
    readonly certificate: () => CertificateFacts | undefined
    readonly clock: Clock
    readonly logger: Logger
  }
  #timer: TimerHandle | undefined
  #warned: { readonly fingerprint256: string; readonly atMs: number } | undefined

  constructor(options: {
    certificate: () => CertificateFacts | undefined
    clock: Clock
    logger: Logger
  }) {
    this.#options = options
  }

  /** Whole days that are left; undefined while there is no certificate. */
  get daysLeft(): number | undefined {
    const { certificate, clock } = this.#options
    const facts = certificate()
    return facts === undefined ? undefined : daysLeft(facts, clock.nowMs())
  }

  get isNearEnd(): boolean {
    return (this.daysLeft ?? EXPIRY_WARNING_DAYS) < EXPIRY_WARNING_DAYS
  }

  async start(): Promise<void> {
    this.check()
    this.#timer = this.#options.clock.startTimer(CHECK_MS, () => void this.start())
  }

  async stop(): Promise<void> {
    if (this.#timer !== undefined) this.#options.clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }

  /** Once a day for each certificate; at once for one that has just been taken. */
  check(): void {
    const { certificate, clock, logger } = this.#options
    const facts = certificate()
    if (facts === undefined || !this.isNearEnd) return
    const nowMs = clock.nowMs()
    const isKnown = this.#warned?.fingerprint256 === facts.fingerprint256
    if (isKnown && nowMs - (this.#warned?.atMs ?? 0) < DAY_MS) return
    this.#warned = { fingerprint256: facts.fingerprint256, atMs: nowMs }
    logger.warn(
      { daysLeft: this.daysLeft, notAfter: facts.notAfter.toISOString() },
      "this daemon's certificate expires soon: lsctl certs rotate, then reload",
    )
  }
}
