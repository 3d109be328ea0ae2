import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type HandlerContext, HandlerError, type HandlerModule, type InquiryAnswer } from '../lib/xchange/handler.ts'
import { AppendLog, readLog } from './append-log.ts'
import type { ExecutionEvent } from './history.ts'
import { monotonicMs } from './monotonic.ts'

/** Names the execution log: the ground truth of what a bank did, outside of the product's store. */
export const EXECUTION_LOG_VARIABLE = 'LSX_CHAOS_EXECUTION_LOG'

interface Posting {
  readonly receipt: string
  readonly declined: boolean
}

/**
 * A bank's books as a file: a line when a posting begins and one when it takes effect, each on disk before the next
 * step. With `inquires` it can tell afterwards what became of a key.
 */
export function ledgerModule(method: string, options: { inquires: boolean }): HandlerModule {
  const path = process.env[EXECUTION_LOG_VARIABLE]
  if (path === undefined) throw new Error(`${EXECUTION_LOG_VARIABLE} names no file`)
  const boot = `${process.pid}-${randomBytes(4).toString('hex')}`
  const posted = new Map<string, Posting>()
  let log: AppendLog<ExecutionEvent> | undefined

  const append = (event: ExecutionEvent): Promise<void> => {
    if (log === undefined) throw new Error('the ledger was not started')
    return log.append(event)
  }

  const post = async (payload: unknown, { key }: HandlerContext): Promise<unknown> => {
    const { amountMinor, workMs, declines } = payload as { amountMinor: number; workMs: number; declines: boolean }
    const receipt = `${boot}-${randomBytes(6).toString('hex')}`
    const line = { key, amountMinor, receipt, boot, declined: declines }
    await append({ e: 'begin', t: monotonicMs(), ...line })
    if (workMs > 0) await delay(workMs)
    await append({ e: 'end', t: monotonicMs(), ...line })
    posted.set(key, line)
    if (declines) throw new HandlerError('DECLINED', 'the ledger declines this posting', { key, receipt })
    return { key, receipt, amountMinor }
  }

  const inquire = async (key: string): Promise<InquiryAnswer> => {
    const posting = posted.get(key)
    await append({ e: 'inquiry', t: monotonicMs(), key, boot, done: posting !== undefined })
    // What was only begun died with its process, which was gone before this one started.
    return posting === undefined ? { done: false } : { done: true, payload: { key, ...posting } }
  }

  return {
    methods: { [method]: post },
    // The time depends on the request, so nothing can be learned of it.
    expectedMs: { [method]: 0 },
    ...(options.inquires ? { inquire } : {}),
    async start() {
      for (const event of readLog<ExecutionEvent>(path)) if (event.e === 'end') posted.set(event.key, event)
      log = new AppendLog(path)
    },
    async stop() {
      await log?.close()
    },
  }
}
