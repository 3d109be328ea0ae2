import { randomBytes } from 'node:crypto'
import { type Advanced, advance, openChannel } from '../../lib/channel/machine.ts'
import type { ChannelConfig, ChannelEffect, ChannelEvent, ChannelState, Now } from '../../lib/channel/state.ts'
import type { Session, SessionTerms } from '../../lib/kx/index.ts'
import { type KxParties, kxParties } from './kx-parties.ts'

export type Role = 'ls' | 'xchange'

export const CHANNEL_TIMES = { kxTimeoutMs: 5_000, kxRetryMs: 30_000 } as const

const START: Now = { wallMs: 1_800_000_000_000, monotonicMs: 5_000 }

/** One side's state machine, and what it wants to reach the other side. */
export class Machine {
  readonly config: ChannelConfig
  state: ChannelState
  readonly outbox: ChannelEffect[] = []
  /** All effects so far. */
  readonly effects: ChannelEffect[] = []

  constructor(config: ChannelConfig, now: Now) {
    this.config = config
    this.state = openChannel(config, now)
  }

  apply(event: ChannelEvent, now: Now): Advanced {
    const advanced = advance(this.state, event, now, this.config)
    this.state = advanced.state
    for (const effect of advanced.effects) {
      this.effects.push(effect)
      if (effect.type === 'sendKx' || effect.type === 'sendSealed') this.outbox.push(effect)
    }
    return advanced
  }
}

/** Both state machines and nothing else: no socket, no clock, nothing is sealed. */
export class MachinePair {
  readonly ls: Machine
  readonly xchange: Machine
  now: Now = START

  constructor(options: { parties?: KxParties; terms?: Partial<SessionTerms> } = {}) {
    const parties = options.parties ?? kxParties()
    const terms = { ...parties.ls.terms, ...options.terms }
    const bankCode = parties.ls.bankCode
    this.ls = new Machine(
      {
        role: 'ls',
        bankCode,
        times: CHANNEL_TIMES,
        newKx: (epoch) => ({ ...parties.ls, terms, epoch, sessionId: randomBytes(16) }),
      },
      this.now,
    )
    this.xchange = new Machine(
      { role: 'xchange', bankCode, times: CHANNEL_TIMES, newKx: (epoch) => ({ ...parties.xchange, epoch }) },
      this.now,
    )
  }

  machine(role: Role): Machine {
    return role === 'ls' ? this.ls : this.xchange
  }

  later(durationMs: number): void {
    this.now = { wallMs: this.now.wallMs + durationMs, monotonicMs: this.now.monotonicMs + durationMs }
  }

  /** Gives the oldest effect that waits in a side's outbox to the other side. False where none waits. */
  carry(from: Role): boolean {
    const effect = this.machine(from).outbox.shift()
    if (effect === undefined) return false
    const receiver = this.machine(from === 'ls' ? 'xchange' : 'ls')
    if (effect.type === 'sendKx') receiver.apply({ type: 'kxFrame', frame: effect.frame }, this.now)
    else if (effect.type === 'sendSealed') {
      const { epoch } = effect.session
      const { state } = receiver
      if ('previous' in state && state.previous !== undefined && state.session.epoch === epoch)
        receiver.apply({ type: 'peerSwitched' }, this.now)
      const { frameType: type, body } = effect
      receiver.apply(type === 'control' ? { type, body } : { type, body, epoch }, this.now)
    }
    return true
  }

  /** Carries until neither side has anything to say. */
  carryAll(): void {
    while (this.carry('ls') || this.carry('xchange'));
  }

  /** Both sides connected, in epoch 1, nothing on its way. */
  connect(): this {
    this.xchange.apply({ type: 'opened' }, this.now)
    this.ls.apply({ type: 'opened' }, this.now)
    this.carryAll()
    return this
  }
}

/** The session of a state that must have one. */
export function sessionOf(state: ChannelState): Session {
  if (state.name !== 'connected' && state.name !== 'draining') throw new Error(`a channel that is ${state.name}`)
  return state.session
}
