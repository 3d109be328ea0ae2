import { setMaxListeners } from 'node:events'
import { isDeepStrictEqual } from 'node:util'
import { LsxError } from '../runtime/index.ts'
import { BankLink } from './bank-link.ts'
import type { BankConfig } from './config.ts'
import type { SwitchContext } from './switch-context.ts'

export interface RegistryChange {
  readonly added: readonly string[]
  readonly changed: readonly string[]
  readonly removed: readonly string[]
}

/** The banks by code. */
export class Registry {
  readonly #links = new Map<string, BankLink>()
  readonly #context: SwitchContext
  #isStopped = false

  constructor(context: SwitchContext) {
    this.#context = context
  }

  get(bankCode: string): BankLink | undefined {
    return this.#links.get(bankCode)
  }

  /** The bank's link. Throws UNKNOWN_BANK. */
  require(bankCode: string): BankLink {
    const link = this.#links.get(bankCode)
    if (link === undefined) throw new LsxError('UNKNOWN_BANK', `no bank ${bankCode} is configured here`)
    return link
  }

  /** In the order of the configuration. */
  all(): readonly BankLink[] {
    return [...this.#links.values()]
  }

  /**
   * Brings the links to the configured banks. Those that did not change are not touched; a changed one is drained and
   * made anew. All that can fail is done before the first link is stopped, so that a mistake in the file changes nothing.
   */
  async apply(
    banks: readonly BankConfig[],
    drainTimeoutMs: number,
    { dial = true }: { readonly dial?: boolean } = {},
  ): Promise<RegistryChange> {
    const { quarantines, uptime } = this.#context
    const next = new Map(banks.map((bank) => [bank.code, bank]))
    const isChanged = (link: BankLink) => !isSameButForPins(next.get(link.bank.code), link.bank)
    const leaving = this.all().filter(isChanged)
    const leavingCodes = new Set(leaving.map((link) => link.bank.code))
    const arriving = banks
      .filter((bank) => leavingCodes.has(bank.code) || !this.#links.has(bank.code))
      .map((bank) => new BankLink(bank, this.#context))
    for (const link of arriving) quarantines.get(link.bank.code)
    const staying = this.all().filter((link) => !leavingCodes.has(link.bank.code))
    for (const bank of banks) BankLink.checkPins(bank)
    const repinned = staying.filter((link) => link.takePins(next.get(link.bank.code) ?? link.bank))
    await this.#drain(leaving, drainTimeoutMs)
    // LS is shutting down since: nothing new may begin.
    if (this.#isStopped) return { added: [], changed: [], removed: [] }
    const arrived = new Map(arriving.map((link) => [link.bank.code, link]))
    const inOrder = banks.flatMap(({ code }) => arrived.get(code) ?? this.#links.get(code) ?? [])
    const before = new Map(this.#links)
    this.#links.clear()
    for (const link of inOrder) this.#links.set(link.bank.code, link)
    for (const link of arriving) {
      link.lane.recover(this.#context.durable.recover(link.bank.code))
      // Asked again: an operator may have quarantined the bank during the drain, and the disk be slower than that.
      const quarantine = quarantines.get(link.bank.code) ?? quarantineOf(before.get(link.bank.code))
      if (quarantine !== undefined) link.quarantine(quarantine)
      else if (dial) link.start()
    }
    for (const code of uptime.banks) if (!next.has(code)) uptime.forget(code)
    const arrivingCodes = arriving.map((link) => link.bank.code)
    return {
      added: arrivingCodes.filter((code) => !leavingCodes.has(code)),
      changed: [...arrivingCodes.filter((code) => leavingCodes.has(code)), ...repinned.map((link) => link.bank.code)],
      removed: [...leavingCodes].filter((code) => !next.has(code)),
    }
  }

  /** Begins to hold the channels of banks that were applied without dialling. */
  startAll(): void {
    for (const link of this.all()) link.start()
  }

  /** The end: all links are drained, and none is made any more. */
  async drainAll(timeoutMs: number): Promise<void> {
    this.#isStopped = true
    await this.#drain(this.all(), timeoutMs)
  }

  async #drain(links: readonly BankLink[], timeoutMs: number): Promise<void> {
    const deadlineMs = this.#context.clock.monotonicMs() + timeoutMs
    // A little more than the drain itself, so that its goodbye is still said.
    const signal = AbortSignal.timeout(timeoutMs + 500)
    // Each link listens to it: node would warn of a leak from the eleventh bank on.
    setMaxListeners(0, signal)
    await Promise.all(links.map((link) => link.drain(deadlineMs, signal)))
  }
}

/** Pins are taken over by the link as it is: an identity is rotated without an end of the channel. */
function isSameButForPins(bank: BankConfig | undefined, { identities: _before, ...before }: BankConfig): boolean {
  if (bank === undefined) return false
  const { identities: _now, ...now } = bank
  return isDeepStrictEqual(now, before)
}

function quarantineOf(link: BankLink | undefined): Parameters<BankLink['quarantine']>[0] | undefined {
  if (link?.state.name !== 'quarantined') return undefined
  const { reason, by, quarantinedAtMs } = link.state
  return { reason, sinceMs: quarantinedAtMs, ...(by === undefined ? {} : { by }) }
}
