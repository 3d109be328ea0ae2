import { Prng } from './prng.ts'

export const BANKS = ['044', '058'] as const
export type BankCode = (typeof BANKS)[number]

/** `post` is served with an inquiry about keys in doubt, `post-blind` without one. */
export type Method = 'post' | 'post-blind'

/** What a request says. It follows from its key, so that any process can ask it and check it. */
export interface Content {
  readonly key: string
  readonly bankCode: BankCode
  readonly method: Method
  readonly durable: boolean
  readonly amountMinor: number
  /** How long the handler takes. */
  readonly workMs: number
  /** The handler answers with an error of its own. */
  readonly declines: boolean
  readonly paddingBytes: number
}

export interface Mix {
  readonly seed: string
  readonly durable: 'all' | 'none' | 'some'
}

/** More than a frame of the default size carries: LS refuses it. */
const TOO_LARGE_BYTES = 80_000

export function contentOf(mix: Mix, key: string): Content {
  const prng = new Prng(`${mix.seed}/request/${key}`)
  const bankCode = prng.pick(BANKS)
  const method = prng.chance(0.7) ? 'post' : 'post-blind'
  const drawnDurable = prng.chance(0.5)
  return {
    key,
    bankCode,
    method,
    durable: mix.durable === 'some' ? drawnDurable : mix.durable === 'all',
    amountMinor: prng.integer(1, 1_000_000),
    workMs: workMsOf(prng),
    declines: prng.chance(0.05),
    paddingBytes: paddingOf(prng),
  }
}

/** Most take a while, so that there is always something in flight when something breaks. */
function workMsOf(prng: Prng): number {
  const draw = prng.next()
  if (draw < 0.3) return 0
  return draw < 0.9 ? prng.integer(5, 80) : prng.integer(100, 600)
}

function paddingOf(prng: Prng): number {
  const draw = prng.next()
  if (draw < 0.85) return prng.integer(0, 300)
  if (draw < 0.97) return prng.integer(1_000, 8_000)
  return draw < 0.995 ? prng.integer(20_000, 60_000) : TOO_LARGE_BYTES
}

/** What the handler gets; `altered` makes it another request under the same key. */
export function payloadOf(content: Content, altered: boolean): Record<string, unknown> {
  return {
    amountMinor: content.amountMinor + (altered ? 1 : 0),
    workMs: content.workMs,
    declines: content.declines,
    padding: 'x'.repeat(content.paddingBytes),
  }
}

/** Short ones end in doubt or not sent even in calm weather, long ones outlast most faults. */
export function drawTimeoutMs(prng: Prng): number {
  const draw = prng.next()
  if (draw < 0.2) return prng.integer(10, 300)
  return draw < 0.7 ? prng.integer(1_000, 3_000) : prng.integer(6_000, 10_000)
}
