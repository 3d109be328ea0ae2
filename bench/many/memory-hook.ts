import { setTimeout as wait } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'

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
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
  const { malloced_memory: malloced } = getHeapStatistics()
  process.stdout.write(
    `${JSON.stringify({ memory: { residentBytes: before, collectedBytes: rss, heapUsed, external, arrayBuffers, malloced } })}\n`,
  )
})
