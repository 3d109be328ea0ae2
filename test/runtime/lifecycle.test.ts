import t from 'tap'
import { type Service, ServiceGroup, silentLogger } from '../../lib/runtime/index.ts'
import { recordingLogger } from '../support/channel-log.ts'

const never = new AbortController().signal

class TestService implements Service {
  readonly name: string
  readonly #life: string[]
  failStart: Error | undefined
  failStop: Error | undefined
  stopSignal: AbortSignal | undefined

  constructor(name: string, life: string[]) {
    this.name = name
    this.#life = life
  }

  async start(): Promise<void> {
    this.#life.push(`${this.name} starts`)
    await Promise.resolve()
    if (this.failStart !== undefined) throw this.failStart
    this.#life.push(`${this.name} serves`)
  }

  async stop(signal: AbortSignal): Promise<void> {
    this.stopSignal = signal
    await Promise.resolve()
    if (this.failStop !== undefined) throw this.failStop
    this.#life.push(`${this.name} stopped`)
  }
}

function three(): { life: string[]; services: [TestService, TestService, TestService] } {
  const life: string[] = []
  return { life, services: [new TestService('a', life), new TestService('b', life), new TestService('c', life)] }
}

t.test('started one after the other, stopped the other way round, once', async (t) => {
  const { life, services } = three()
  const group = new ServiceGroup(silentLogger)
  await group.start(services, never)
  t.strictSame(life.splice(0), ['a starts', 'a serves', 'b starts', 'b serves', 'c starts', 'c serves'])
  await group.stop(never)
  t.strictSame(life.splice(0), ['c stopped', 'b stopped', 'a stopped'])
  t.equal(services[0].stopSignal, never)
  await group.stop(never)
  t.strictSame(life, [])
})

t.test('a start that fails stops what was started, and says what failed', async (t) => {
  const { life, services } = three()
  const failure = new Error('the port is taken')
  services[1].failStart = failure
  await t.rejects(new ServiceGroup(silentLogger).start(services, never), failure)
  t.strictSame(life, ['a starts', 'a serves', 'b starts', 'a stopped'])
})

t.test('an abort during the start stops what was started, and starts no more', async (t) => {
  const { life, services } = three()
  const abort = new AbortController()
  const reason = new Error('SIGTERM during the start')
  const started = new ServiceGroup(silentLogger).start(services, abort.signal)
  abort.abort(reason)
  await t.rejects(started, reason)
  t.strictSame(life, ['a starts', 'a serves', 'a stopped'])
})

t.test('one that does not stop cleanly keeps none of the others running, and is in the log', async (t) => {
  const { life, services } = three()
  services[2].failStop = new Error('stuck')
  const log = recordingLogger()
  const group = new ServiceGroup(log)
  await group.start(services, never)
  life.length = 0
  await group.stop(never)
  t.strictSame(life, ['b stopped', 'a stopped'])
  t.match(log.lines, [{ level: 'error', facts: { service: 'c', error: { message: 'stuck' } } }])
})
