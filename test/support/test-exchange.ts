/**
 * A bank for tests, as a handler module of xchanged:
 *
 *   echo   anything              -> the same
 *   hold   {name}                -> {name}, once `releaseHeld` says so (same process only)
 *   blob   {bytes}               -> so many bytes
 *   pid    {}                    -> {pid, bankCode}
 *   slow   {ms}                  -> {sleptMs}, sooner when it is told to stop
 *   sleep  {ms}                  -> {sleptMs}, whatever it is told
 */
import { defineHandlers, type HandlerModule, type HandlerModuleOptions } from '../../lib/xchange/handler.ts'

const held = new Map<string, () => void>()
const waiting = new Map<string, () => void>()

/** Resolves when the handler of `hold` is at work for this name. */
export async function untilHeld(name: string): Promise<void> {
  if (held.has(name)) return
  await new Promise<void>((resolve) => waiting.set(name, resolve))
}

/** Lets the handler of `hold` with this name answer. */
export function releaseHeld(name: string): void {
  held.get(name)?.()
  held.delete(name)
}

export default function testExchange({ bankCode }: HandlerModuleOptions): HandlerModule {
  return defineHandlers({
    methods: {
      echo: (payload) => payload,
      hold: async (payload, { signal }) => {
        const { name } = payload as { name: string }
        await new Promise<void>((resolve) => {
          held.set(name, resolve)
          signal.addEventListener('abort', () => resolve(), { once: true })
          waiting.get(name)?.()
          waiting.delete(name)
        })
        return { name }
      },
      blob: (payload) => Buffer.alloc((payload as { bytes: number }).bytes, 0x62),
      pid: () => ({ pid: process.pid, bankCode }),
      slow: async (payload, { signal }) => {
        const { ms } = payload as { ms: number }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms)
          signal.addEventListener('abort', () => {
            clearTimeout(timer)
            resolve()
          })
        })
        return { sleptMs: ms }
      },
      sleep: async (payload) => {
        const { ms } = payload as { ms: number }
        await new Promise((resolve) => setTimeout(resolve, ms))
        return { sleptMs: ms }
      },
    },
    expectedMs: { sleep: 0, echo: 0, hold: 0, blob: 0, pid: 0, slow: 0 },
  })
}
