import { delayedSyncs } from './capabilities.ts'
import { monotonicMs } from './monotonic.ts'
import { TestBed } from './test-bed.ts'

export interface SyncOptions {
  readonly dir: string
  /** How long each sync of a file is held up. */
  readonly delayMs: number
  /** One after another, of each kind. */
  readonly requests: number
  readonly signal: AbortSignal
}

export interface SyncFigures {
  readonly delayMs: number
  readonly requests: number
  /** LS's syncs are held up: the shortest a durable request took to be answered, and the median of those that are not. */
  readonly ls: { readonly durableMinMs: number; readonly plainP50Ms: number }
  /** The node's syncs are held up: begun is on disk before the handler runs, and the response before the answer leaves. */
  readonly xchange: { readonly plainMinMs: number }
  /** Requests that were answered before a sync can have been over. */
  readonly tooEarly: number
}

/** Nobody is told of what is not on disk: with each sync held up for `delayMs`, no answer comes sooner. */
export async function measureSyncs(options: SyncOptions): Promise<SyncFigures> {
  const { delayMs, requests, signal } = options
  const bed = await TestBed.start(options)
  const times = async (durable: boolean): Promise<number[]> => {
    const timesMs: number[] = []
    for (let request = 0; request < requests; request++) {
      const fromMs = monotonicMs()
      const { outcome, code } = await bed.post('044', { timeoutMs: 60_000, durable, signal })
      if (outcome !== 'answered') throw new Error(`${outcome} ${code}`)
      timesMs.push(monotonicMs() - fromMs)
    }
    return timesMs.sort((one, other) => one - other)
  }
  try {
    await bed.restart('lsd', delayedSyncs(delayMs), signal)
    const plainAtLs = await times(false)
    const durableAtLs = await times(true)
    await bed.restart('lsd', [], signal)
    await bed.restart('xchanged-044', delayedSyncs(delayMs), signal)
    const plainAtNode = await times(false)
    const tooEarly = [...durableAtLs, ...plainAtNode].filter((ms) => ms < delayMs).length
    return {
      delayMs,
      requests,
      ls: { durableMinMs: rounded(durableAtLs[0]), plainP50Ms: rounded(plainAtLs[Math.floor(requests / 2)]) },
      xchange: { plainMinMs: rounded(plainAtNode[0]) },
      tooEarly,
    }
  } finally {
    await bed.destroy()
  }
}

function rounded(ms = Number.NaN): number {
  return Math.round(ms * 10) / 10
}
