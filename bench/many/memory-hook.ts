import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'

/**
 * Loaded into lsd before its program (`--import`, with `--expose-gc`): on SIGUSR2 it collects what nobody needs any more,
 * and tells the memory of the process as a line of the log. For `npm run bench:many` only.
 */
const COLLECTIONS = 3
const PAUSE_MS = 200

const collect: unknown = Reflect.get(globalThis, 'gc')

process.on('SIGUSR2', async () => {
  const before = process.memoryUsage.rss()
  for (let index = 0; index < COLLECTIONS; index++) {
    if (typeof collect === 'function') collect()
    await wait(PAUSE_MS)
  }
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage()
  const [anonymousBytes, fileBytes] = ['RssAnon', 'RssFile'].map(statusBytes)
  const memory = {
    residentBytes: before,
    collectedBytes: rss,
    anonymousBytes,
    fileBytes,
    heapTotal,
    heapUsed,
    external,
  }
  process.stdout.write(`${JSON.stringify({ memory })}\n`)
})

function statusBytes(name: string): number {
  try {
    const [, kibibytes] =
      new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'latin1')) ?? []
    return Number(kibibytes ?? 0) * 1_024
  } catch {
    return 0
  }
}
