import { pack } from 'msgpackr'
import t from 'tap'
import { ResponseStatus } from '../../lib/frames/index.ts'
import { createLogger, silentLogger } from '../../lib/runtime/index.ts'
import { MemoryOnceOnlyTable, requestDigest, type StoredResponse } from '../../lib/xchange/once-only.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const DIGEST = requestDigest({ method: 'pay', payload: Buffer.from('one') })
const OTHER_DIGEST = requestDigest({ method: 'pay', payload: Buffer.from('two') })

function answered(value: unknown): StoredResponse {
  return { status: ResponseStatus.ok, payload: pack(value), meta: undefined }
}

const IN_DOUBT: StoredResponse = { status: ResponseStatus.inDoubt, payload: Buffer.alloc(0), meta: undefined }

function tableWith(options: { maxEntries?: number; maxBytes?: number; ttlMs?: number; log?: string[] } = {}) {
  const clock = new VirtualClock()
  const { log, ...bounds } = options
  const logger =
    log === undefined
      ? silentLogger
      : createLogger({ name: 'x', level: 'warn', destination: { write: (line) => log.push(line) } })
  return { clock, table: new MemoryOnceOnlyTable({ clock, logger, maxEntries: 1_000, ...bounds }) }
}

t.test('BEY-2 the life of a key', async (t) => {
  const { table } = tableWith()
  t.equal(table.find('a', DIGEST), undefined)
  t.same(table.begin('a', DIGEST), { kind: 'new' })
  t.same(table.begin('a', DIGEST), { kind: 'running' })
  t.same(table.begin('a', OTHER_DIGEST), { kind: 'mismatch' })
  const response = answered('paid')
  table.finish('a', response)
  t.same(table.begin('a', DIGEST), { kind: 'done', response })
  t.same(table.find('a', DIGEST), { kind: 'done', response })
  t.same(table.begin('a', OTHER_DIGEST), { kind: 'mismatch' })
  t.same(table.begin('b', OTHER_DIGEST), { kind: 'new' }, 'keys are independent')
})

t.test('a key of which nothing happened is free again', async (t) => {
  const { table } = tableWith()
  table.begin('a', DIGEST)
  table.release('a')
  t.same(table.begin('a', OTHER_DIGEST), { kind: 'new' })
})

t.test('a key in doubt is handed out once, and stays in doubt until it is settled', async (t) => {
  const { table } = tableWith()
  table.begin('a', DIGEST)
  table.finish('a', IN_DOUBT)
  t.same(table.find('a', DIGEST), { kind: 'inDoubt' })
  t.same(table.begin('a', OTHER_DIGEST), { kind: 'mismatch' })
  t.same(table.begin('a', DIGEST), { kind: 'inDoubt' })
  t.same(table.begin('a', DIGEST), { kind: 'running' }, 'one caller settles it')
  table.finish('a', IN_DOUBT)
  t.same(table.begin('a', DIGEST), { kind: 'inDoubt' })
  table.finish('a', answered('paid'))
  t.match(table.begin('a', DIGEST), { kind: 'done' })
})

t.test('a late answer settles a key in doubt', async (t) => {
  const { table } = tableWith()
  table.begin('a', DIGEST)
  table.finish('a', IN_DOUBT)
  table.finish('a', answered('paid after all'))
  t.match(table.find('a', DIGEST), { kind: 'done' })
})

t.test('an answer to a key that is not known is not kept', async (t) => {
  const { table } = tableWith()
  table.finish('a', answered('paid'))
  t.equal(table.find('a', DIGEST), undefined)
})

t.test('the number of entries is bounded, and running keys are never forgotten', async (t) => {
  const log: string[] = []
  const { table, clock } = tableWith({ maxEntries: 10, log })
  table.begin('running', DIGEST)
  for (let n = 0; n < 100; n++) {
    table.begin(`key-${n}`, DIGEST)
    table.finish(`key-${n}`, answered(n))
  }
  t.equal(table.size, 11)
  t.equal(table.evictedEarly, 90)
  t.same(table.begin('running', DIGEST), { kind: 'running' })
  t.match(table.begin('key-99', DIGEST), { kind: 'done' })
  t.match(table.begin('key-0', DIGEST), { kind: 'new' }, 'the oldest go first')
  t.equal(log.length, 1, 'told once, not ninety times')
  t.match(log[0], /forgets keys before their time/)
  await clock.advance(60_000)
  table.begin('one-more', DIGEST)
  table.finish('one-more', answered(1))
  t.equal(log.length, 2)
})

t.test('the bytes are bounded', async (t) => {
  const { table } = tableWith({ maxBytes: 10_000 })
  for (let n = 0; n < 100; n++) {
    table.begin(`key-${n}`, DIGEST)
    table.finish(`key-${n}`, answered('x'.repeat(1_000)))
  }
  t.ok(table.size >= 5 && table.size <= 9, `${table.size} entries`)
})

t.test('an answer that alone is over the bytes is forgotten, its key is not', async (t) => {
  const { table } = tableWith({ maxBytes: 10_000 })
  table.begin('a', DIGEST)
  table.finish('a', answered('x'.repeat(20_000)))
  t.same(table.find('a', DIGEST), { kind: 'inDoubt' })
})

t.test('finished keys are kept for their time', async (t) => {
  const { table, clock } = tableWith({ ttlMs: 1_000 })
  table.begin('a', DIGEST)
  table.finish('a', answered('paid'))
  table.begin('running', DIGEST)
  await clock.advance(999)
  t.match(table.find('a', DIGEST), { kind: 'done' })
  await clock.advance(2)
  t.equal(table.find('a', DIGEST), undefined)
  t.same(table.begin('a', OTHER_DIGEST), { kind: 'new' })
  t.same(table.find('running', DIGEST), { kind: 'running' }, 'a running key has no age')
  t.equal(table.evictedEarly, 0)
  t.equal(clock.pendingTimers, 0)
})

t.test('the digest covers method and payload, and where one ends', async (t) => {
  const digests = [
    requestDigest({ method: 'pay', payload: Buffer.from('one') }),
    requestDigest({ method: 'payo', payload: Buffer.from('ne') }),
    requestDigest({ method: 'pay', payload: Buffer.from('onf') }),
    requestDigest({ method: 'paz', payload: Buffer.from('one') }),
  ].map((digest) => digest.toString('hex'))
  t.equal(new Set(digests).size, digests.length)
  t.equal(digests[0], DIGEST.toString('hex'))
  t.equal(DIGEST.byteLength, 32)
})
