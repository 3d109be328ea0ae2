import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { createSecureContext } from '../../lib/certs/index.ts'
import { ChannelListener, type ListenerPeer, RefusalLog } from '../../lib/channel/index.ts'
import { HealthCheck } from '../../lib/ls/health-check.ts'
import { silentLogger, systemClock } from '../../lib/runtime/index.ts'
import { createTestPki, type TestNode as TestCertificates } from '../support/pki.ts'
import { SwitchHarness } from './switch-harness.ts'

const INTERVAL_MS = 60_000
const EVENTS = new EventTarget()

let certificates: { readonly ls: TestCertificates; readonly bank: TestCertificates }

t.before(async () => {
  const pki = await createTestPki(t.testdir({}))
  certificates = { ls: await pki.issue('lsd'), bank: await pki.issue('xchange', '044') }
})

type Answer = (response: ServerResponse, session: string) => void

const json =
  (body: (session: string) => unknown): Answer =>
  (response, session) =>
    response.end(JSON.stringify(body(session)))

/** A node on a real listener that LS has dialled; a test says what it answers to `/health`. */
class ProbedBank {
  readonly harness = new SwitchHarness({ config: { listen: { port: 0, allow: [] } } })
  readonly health: HealthCheck
  asked = 0
  answer: Answer = json((sessionId) => ({ status: 'ok', bankCode: '044', connected: 1, sessionId }))
  readonly #listener: ChannelListener

  constructor(intervalMs: number) {
    const { harness } = this
    Object.assign(harness.context, { secureContext: createSecureContext(certificates.ls.material) })
    harness.bank('044')
    this.#listener = new ChannelListener({
      host: '127.0.0.1',
      port: 0,
      material: certificates.bank.material,
      maxFrameBytes: 65_536,
      maxConnections: 16,
      gate: {
        permitsAddress: () => true,
        admitChannel: () => {},
        onChannel: (_peer, socket, exporter) => harness.node('044').open(harness.clock, socket, exporter),
        onRequest: (peer, request, response) => this.#onRequest(peer, request, response),
      },
      refusals: new RefusalLog(silentLogger, systemClock),
      logger: silentLogger,
    })
    this.health = new HealthCheck({ registry: harness.registry, intervalMs, clock: harness.clock, logger: harness.log })
  }

  get link() {
    return this.harness.link('044')
  }

  async connect(): Promise<void> {
    const { harness } = this
    await this.#listener.start()
    const connected = this.#transition('connected')
    await harness.apply(harness.bank('044', { dial: 'ls', host: '127.0.0.1', port: this.#listener.port }))
    await connected
    await this.link.firstAttempt
  }

  /** Resolves when a kx over the live socket is done. */
  rekeyed(): Promise<void> {
    return this.#transition('connected')
  }

  async stop(): Promise<void> {
    await this.health.stop()
    await this.harness.registry.drainAll(0)
    await this.#listener.stop()
  }

  #transition(to: string): Promise<void> {
    return new Promise((resolve) => {
      const end = this.harness.context.uptime.subscribe((transition) => {
        if (transition.to !== to) return
        end()
        resolve()
      })
    })
  }

  #onRequest(peer: ListenerPeer, request: IncomingMessage, response: ServerResponse): void {
    this.asked++
    if (request.url !== '/health' || peer.spiffeId !== 'spiffe://ls-xchange.test/ls') response.writeHead(404)
    this.answer(response, this.link.session?.sessionId.toString('hex') ?? '')
    EVENTS.dispatchEvent(new Event('asked'))
  }
}

async function probedBank(t: Test, intervalMs = 0): Promise<ProbedBank> {
  const bank = new ProbedBank(intervalMs)
  t.teardown(() => bank.stop())
  await bank.connect()
  return bank
}

t.test('LS-12 an xchange that names the session that LS holds is left in peace', async (t) => {
  const bank = await probedBank(t)
  const { session } = bank.link
  await bank.health.checkAll()
  t.equal(bank.asked, 1)
  t.equal(bank.link.session, session)
  t.equal(bank.link.counters.kxStarted, 1)
})

t.test('LS-12 an xchange that names another session, another bank or none gets a new kx', async (t) => {
  const bank = await probedBank(t)
  const answers: readonly (readonly [string, Answer])[] = [
    ['another session', json(() => ({ status: 'ok', bankCode: '044', connected: 1, sessionId: 'ab'.repeat(16) }))],
    ['no session', json(() => ({ status: 'ok', bankCode: '044', connected: 0, sessionId: null }))],
    ['another bank', json((sessionId) => ({ status: 'ok', bankCode: '058', connected: 1, sessionId }))],
    ['nothing at all', json(() => ({}))],
  ]
  let epoch = 1
  for (const [what, answer] of answers) {
    bank.answer = answer
    const rekeyed = bank.rekeyed()
    await bank.health.checkAll()
    await rekeyed
    epoch++
    t.equal(bank.link.session?.epoch, epoch, what)
    t.equal(bank.link.state.name, 'connected')
  }
  t.equal(bank.link.counters.connects, 1, 'always on the same socket')
  t.ok(bank.harness.log.lines.some((line) => /names another session/.test(line.message)))
})

t.test('LS-12 no answer, or none that can be understood, leaves the channel alone', async (t) => {
  const bank = await probedBank(t)
  const { session } = bank.link
  const answers: readonly (readonly [string, Answer])[] = [
    ['cut off', (response) => response.destroy()],
    ['no JSON', (response) => response.end('<html>')],
    ['JSON, but no object', (response) => response.end('null')],
    [
      'cut off within',
      (response) => void response.writeHead(200, { 'content-length': 100 }).write('{', () => response.destroy()),
    ],
    ['too long', (response) => response.end(JSON.stringify({ padding: 'x'.repeat(10_000) }))],
  ]
  for (const [what, answer] of answers) {
    bank.answer = answer
    await bank.health.checkAll()
    t.equal(bank.link.session, session, what)
    t.equal(bank.link.counters.kxStarted, 1, what)
  }
  t.equal(bank.asked, answers.length)
  t.equal(bank.harness.log.lines.filter((line) => /got no answer/.test(line.message)).length, answers.length)
})

t.test('LS-12 a kx that is done while the question is under way explains the difference', async (t) => {
  const bank = await probedBank(t)
  let answerNow: () => void = () => {}
  bank.answer = (response) => {
    answerNow = () => response.end(JSON.stringify({ bankCode: '044', sessionId: 'ab'.repeat(16) }))
  }
  const asked = once(EVENTS, 'asked')
  const checked = bank.health.checkAll()
  await asked
  const rekeyed = bank.rekeyed()
  bank.link.rekey('operator')
  await rekeyed
  answerNow()
  await checked
  t.equal(bank.link.counters.kxStarted, 2, 'the operator’s, and no other')
})

t.test('LS-12 it asks at its interval, one round after the other, and not at all with 0', async (t) => {
  const bank = await probedBank(t, INTERVAL_MS)
  await bank.health.start()
  for (let round = 1; round <= 2; round++) {
    t.equal(bank.asked, round - 1)
    const asked = once(EVENTS, 'asked')
    await bank.harness.clock.advance(INTERVAL_MS)
    await asked
  }
  const off = new HealthCheck({
    registry: bank.harness.registry,
    intervalMs: 0,
    clock: bank.harness.clock,
    logger: silentLogger,
  })
  const { pendingTimers } = bank.harness.clock
  await off.start()
  t.equal(bank.harness.clock.pendingTimers, pendingTimers)
  await off.stop()
})

t.test('LS-12 banks that dial LS, or are not connected, are not asked', async (t) => {
  const bank = await probedBank(t)
  const { harness } = bank
  await harness.apply(
    harness.link('044').bank,
    harness.bank('058'),
    harness.bank('070', { dial: 'ls', host: '127.0.0.1', port: 1 }),
  )
  await harness.connect('058')
  await bank.health.checkAll()
  t.equal(bank.asked, 1)
})

t.test('stopping gives up what is under way, at once, and asks no more', async (t) => {
  const bank = await probedBank(t, INTERVAL_MS)
  bank.answer = () => {}
  await bank.health.start()
  const asked = once(EVENTS, 'asked')
  await bank.harness.clock.advance(INTERVAL_MS)
  await asked
  await bank.health.stop()
  await bank.health.stop()
  await bank.harness.clock.advance(3 * INTERVAL_MS)
  t.equal(bank.asked, 1)
  t.notOk(
    bank.harness.log.lines.some((line) => /got no answer/.test(line.message)),
    'that is no failure of the bank',
  )
})

t.test('LS-12 a node that never answers is given up in its time, and asked again in the next round', async (t) => {
  const bank = await probedBank(t)
  bank.answer = () => {}
  const asked = once(EVENTS, 'asked')
  const round = bank.health.checkAll()
  await asked
  await bank.harness.clock.advance(5_000)
  await round
  t.equal(bank.link.state.name, 'connected')
  bank.answer = json((sessionId) => ({ status: 'ok', bankCode: '044', connected: 1, sessionId }))
  await bank.health.checkAll()
  t.equal(bank.asked, 2)
})
