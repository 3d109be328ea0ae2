import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { armFailpoint, FAILPOINTS, failpoint } from '../../lib/runtime/index.ts'

const PROGRAM = fileURLToPath(new URL('./daemon-process.js', import.meta.url))

interface Line {
  readonly level: number
  readonly msg: string
  readonly error?: { readonly message: string }
}

class DaemonUnderTest {
  readonly lines: Line[] = []
  readonly #child
  readonly #exited: Promise<number | string>
  #onLine: () => void = () => {}

  constructor(t: Test, how: string) {
    this.#child = spawn(process.execPath, [PROGRAM, how], { stdio: ['ignore', 'pipe', 'inherit'] })
    createInterface({ input: this.#child.stdout }).on('line', (text) => {
      this.lines.push(JSON.parse(text) as Line)
      this.#onLine()
    })
    this.#exited = once(this.#child, 'close').then(([code, signal]) => code ?? signal)
    t.teardown(() => this.#child.kill('SIGKILL'))
  }

  get messages(): string[] {
    return this.lines.map((line) => line.msg)
  }

  exited(): Promise<number | string> {
    return this.#exited
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  /** Resolves when a line of the log has this text. */
  until(text: string | RegExp): Promise<void> {
    return new Promise((resolve) => {
      this.#onLine = () => {
        if (this.messages.some((message) => (typeof text === 'string' ? message === text : text.test(message))))
          resolve()
      }
      this.#onLine()
    })
  }
}

t.jobs = 2

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`${signal} stops the daemon in order`, async (t) => {
    const daemon = new DaemonUnderTest(t, 'well')
    await daemon.until('ready')
    daemon.signal(signal)
    t.equal(await daemon.exited(), 0)
    t.strictSame(daemon.messages, ['starting', 'ready', 'asked to stop', 'stopping', 'stopped'])
  })
}

t.test('a second signal ends it at once', async (t) => {
  const daemon = new DaemonUnderTest(t, 'stop-hangs')
  await daemon.until('ready')
  daemon.signal('SIGTERM')
  await daemon.until('stopping')
  daemon.signal('SIGTERM')
  t.equal(await daemon.exited(), 130)
  t.match(daemon.messages.at(-1), /second signal/)
})

t.test('a signal during the start gives the start up', async (t) => {
  const daemon = new DaemonUnderTest(t, 'start-hangs')
  await daemon.until('starting')
  daemon.signal('SIGTERM')
  t.equal(await daemon.exited(), 0)
  t.strictSame(daemon.messages, ['starting', 'asked to stop'])
})

t.test('a start that fails says why, and exits with 1', async (t) => {
  const daemon = new DaemonUnderTest(t, 'start-fails')
  t.equal(await daemon.exited(), 1)
  t.match(daemon.lines.at(-1), { level: 60, msg: 'cannot start: the port is taken', error: { stack: /start/ } })
})

t.test('SIGHUP reloads; a reload that fails is told and changes nothing', async (t) => {
  const daemon = new DaemonUnderTest(t, 'well')
  await daemon.until('ready')
  daemon.signal('SIGHUP')
  await daemon.until(/was not reloaded/)
  t.match(daemon.lines.at(-1), { level: 50, msg: /nothing changed: the file is no YAML/ })
  daemon.signal('SIGHUP')
  await daemon.until('reload 2')
  daemon.signal('SIGTERM')
  t.equal(await daemon.exited(), 0)
  t.strictSame(daemon.messages.slice(-2), ['stopping', 'stopped'])
})

t.test('an operator’s drain is as good as SIGTERM', async (t) => {
  const daemon = new DaemonUnderTest(t, 'drains')
  t.equal(await daemon.exited(), 0)
  t.strictSame(daemon.messages, ['starting', 'ready', 'stopping', 'stopped'])
})

t.test('what nobody caught ends the process, with all that is known of it in the log', async (t) => {
  for (const how of ['throws-later', 'rejects-later']) {
    const daemon = new DaemonUnderTest(t, how)
    t.equal(await daemon.exited(), 70)
    t.match(daemon.lines.at(-1), {
      level: 60,
      msg: /a defect/,
      error: { message: 'a defect', stack: /daemon-process/ },
    })
  }
})

t.test('a stop that fails does not pass for a good end', async (t) => {
  const daemon = new DaemonUnderTest(t, 'stop-fails')
  await daemon.until('ready')
  daemon.signal('SIGTERM')
  t.equal(await daemon.exited(), 99)
})

t.test('a failpoint that is armed ends the process as kill -9 would, at its count and nowhere else', async (t) => {
  const first = new DaemonUnderTest(t, 'failpoint:send:before')
  t.equal(await first.exited(), 'SIGKILL')
  t.strictSame(first.messages.slice(2), ['before the failpoint'])
  const second = new DaemonUnderTest(t, 'failpoint:send:before@2')
  t.equal(await second.exited(), 'SIGKILL')
  t.strictSame(second.messages.slice(2), ['before the failpoint', 'before the failpoint'])
})

t.test('a failpoint that is not there cannot be armed, and none is armed by itself', async (t) => {
  for (const spec of ['', 'send', 'send:before@0', 'send:before@x', 'send:before@1.5', 'constructor']) {
    t.throws(() => armFailpoint(spec), { code: 'BAD_REQUEST', party: 'self', message: /send:before/ }, spec)
  }
  for (const name of FAILPOINTS) failpoint(name)
  t.ok(FAILPOINTS.length > 10)
})
