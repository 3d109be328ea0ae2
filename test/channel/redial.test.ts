import pRetry from 'p-retry'
import t from 'tap'
import { DialSlots } from '../../lib/channel/dial-slots.ts'
import { type ChannelAttempt, keepConnected } from '../../lib/channel/redial.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const BACKOFF = { minDelayMs: 100, maxDelayMs: 30_000, stableAfterMs: 60_000, promptForMs: 15_000 }

interface Redial {
  readonly clock: VirtualClock
  readonly slots: DialSlots
  /** When each attempt began, and each wait with its length. */
  readonly log: string[]
  readonly done: Promise<void>
  /** Ends the channel that is up. */
  end: () => void
  stop(): Promise<void>
}

/** A loop whose attempts do what `connect` says; a channel that is up stays up until `end`. */
function start(connect: (attempt: number, signal: AbortSignal) => Promise<void>, slots = new DialSlots(1)): Redial {
  const clock = new VirtualClock()
  const abort = new AbortController()
  const log: string[] = []
  let attempts = 0
  const redial: Redial = {
    clock,
    slots,
    log,
    end: () => {},
    done: Promise.resolve(),
    stop: async () => {
      abort.abort(new LsxError('SHUTTING_DOWN', 'a test is over'))
      await redial.done
    },
  }
  const attempt: ChannelAttempt = {
    connect: (signal) => {
      log.push(`${clock.monotonicMs()} dial`)
      return connect(attempts++, signal)
    },
    ended: (signal) => {
      log.push(`${clock.monotonicMs()} up`)
      return new Promise((resolve, reject) => {
        redial.end = resolve
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
    },
  }
  return Object.assign(redial, {
    done: keepConnected({
      attempt,
      backoff: BACKOFF,
      slots,
      clock,
      random: () => 1,
      signal: abort.signal,
      onWaiting: (delayMs) => log.push(`${clock.monotonicMs()} wait ${delayMs}`),
    }),
  })
}

t.test('LS-13 it dials until it is told to stop, with delays that double to their cap', async (t) => {
  const redial = start(() => Promise.reject(new LsxError('CHANNEL_DOWN', 'nobody there')))
  await redial.clock.advance(200_000)
  const waits = redial.log.filter((line) => line.includes('wait')).map((line) => Number(line.split(' ')[2]))
  t.same(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000, 30_000, 30_000])
  await redial.stop()
  t.equal(redial.clock.pendingTimers, 0)
})

t.test('p-retry alone gives up on a TypeError and after ten tries: the loop never does', async (t) => {
  let tries = 0
  const failing = () => {
    tries++
    return Promise.reject(new TypeError('a defect in a handler of an event'))
  }
  await t.rejects(pRetry(failing, { retries: Number.POSITIVE_INFINITY, minTimeout: 0 }), TypeError)
  t.equal(tries, 1, 'the trap is there')

  const thrown: unknown[] = [
    new TypeError('x is not a function'),
    new RangeError('far'),
    'a string',
    undefined,
    null,
    Object.create(null),
    new DOMException('aborted by somebody else', 'AbortError'),
    Object.assign(new Error('named so'), { name: 'AbortError' }),
  ]
  const redial = start((attempt) => Promise.reject(thrown[attempt % thrown.length]))
  await redial.clock.advance(3_600_000)
  t.ok(redial.log.filter((line) => line.includes('dial')).length > 100)
  await redial.stop()
})

t.test('an attempt that throws instead of rejecting does not end the loop', async (t) => {
  const redial = start(() => {
    throw new TypeError('at once')
  })
  await redial.clock.advance(1_000)
  t.ok(redial.log.filter((line) => line.includes('dial')).length > 3)
  await redial.stop()
})

t.test('LS-13 a channel that was stable for a minute is dialled again soon, one that was not later', async (t) => {
  const redial = start((attempt) => (attempt < 3 ? Promise.reject(new Error('down')) : Promise.resolve()))
  await redial.clock.advance(1_000)
  t.match(redial.log.at(-1), '700 up')
  await redial.clock.advance(59_000)
  redial.end()
  await redial.clock.advance(0)
  t.match(redial.log.at(-1), 'wait 500', 'it lasted 59.3 s, and its loss is fresh')
  await redial.clock.advance(500)
  t.match(redial.log.at(-1), 'up')
  await redial.clock.advance(60_000)
  redial.end()
  await redial.clock.advance(0)
  t.match(redial.log.at(-1), 'wait 100', 'it lasted 60 s')
  await redial.stop()
})

t.test(
  'a dial slot is held while dialling and given back once the channel is up, or the dial has failed',
  async (t) => {
    const slots = new DialSlots(1)
    const redial = start((attempt) => (attempt === 0 ? Promise.reject(new Error('down')) : Promise.resolve()), slots)
    await redial.clock.advance(50)
    const release = await slots.acquire(AbortSignal.timeout(5_000))
    await redial.clock.advance(10_000)
    t.equal(redial.log.filter((line) => line.includes('dial')).length, 1, 'no slot, no dial')
    release()
    await redial.clock.advance(0)
    t.match(redial.log.at(-1), 'up')
    const free = await slots.acquire(AbortSignal.timeout(5_000))
    free()
    await redial.stop()
  },
)

t.test('a stop ends it wherever it is, and leaves no timer and no slot behind', async (t) => {
  const waiting = start(() => Promise.reject(new Error('down')))
  await waiting.clock.advance(150)
  await t.resolves(waiting.stop(), 'between two dials')
  t.equal(waiting.clock.pendingTimers, 0)

  const dialling = start(
    (_, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      }),
  )
  await dialling.clock.advance(10)
  await t.resolves(dialling.stop(), 'during a dial')
  await t.resolves(dialling.slots.acquire(AbortSignal.timeout(5_000)))

  const up = start(() => Promise.resolve())
  await up.clock.advance(10)
  await t.resolves(up.stop(), 'while the channel is up')

  const slots = new DialSlots(1)
  await slots.acquire(AbortSignal.timeout(5_000))
  const queued = start(() => Promise.resolve(), slots)
  await queued.clock.advance(10)
  t.equal(slots.waiting, 1)
  await t.resolves(queued.stop(), 'while it waits for a slot')
  t.equal(slots.waiting, 0)
})
