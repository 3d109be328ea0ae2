import t from 'tap'
import { createRecordingIo } from '../support/recording-io.ts'
import type { Answer } from '../support/scripted-daemon.ts'
import { failed, ok, startScriptedDaemon } from '../support/scripted-daemon.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

/** As lsd does: answers, then ends all connections. */
const END_AFTER_ANSWER: Answer = ({ id }, connection) => {
  connection.reply({ id, ok: true, result: { draining: true } })
  connection.close()
  return undefined
}

t.test('drain waits until lsd has ended', async (t) => {
  const lsd = await startScriptedDaemon(t, { drain: END_AFTER_ANSWER })
  const people = await lsd.run(['drain'])
  t.match(people.out, /^lsd has drained and ended in \d/)
  t.equal(people.err, 'lsd is draining\n')
  t.equal(people.exitCode, undefined)
  const scripts = await lsd.run(['drain', '--json'])
  t.match(JSON.parse(scripts.out), { drained: true, ms: Number })
  t.equal(scripts.err, '')
})

t.test('drain waits no longer than its time', async (t) => {
  const clock = new VirtualClock()
  const lsd = await startScriptedDaemon(t, { drain: ok({ draining: true }) })
  const io = createRecordingIo({ clock })
  const running = lsd.runWith(io, ['drain', '--timeout', '5s'])
  await io.untilErr(/lsd is draining/)
  await clock.advance(5_000)
  await running
  t.equal(io.out, '')
  t.match(io.err, /lsctl: lsd has not ended after 5s; it goes on draining; lsctl status .+ \(DEADLINE_EXCEEDED\)\n$/)
  t.equal(io.exitCode, 1)
  t.equal(clock.pendingTimers, 0)
})

t.test('Ctrl-C ends the wait, not the drain', async (t) => {
  const ctrlC = new AbortController()
  const lsd = await startScriptedDaemon(t, { drain: ok({ draining: true }) })
  const io = createRecordingIo({ interrupt: ctrlC.signal })
  const running = lsd.runWith(io, ['drain'])
  await io.untilErr(/lsd is draining/)
  ctrlC.abort()
  await running
  t.equal(io.exitCode, 130)
  t.equal(io.out, '')
})

t.test('reload says what changed', async (t) => {
  const result = { reloaded: true, added: ['070', '071'], changed: ['044'], removed: [], needRestart: ['listen'] }
  const lsd = await startScriptedDaemon(t, { reload: ok(result) })
  const io = await lsd.run(['reload'])
  t.equal(io.out, 'reloaded: added 070, 071; changed 044\nthese take effect at the next start: listen\n')
  t.equal(io.exitCode, 0)
  t.strictSame(JSON.parse((await lsd.run(['reload', '--json'])).out), result)
  const same = await startScriptedDaemon(t, {
    reload: ok({ reloaded: true, added: [], changed: [], removed: [], needRestart: [] }),
  })
  t.equal((await same.run(['reload'])).out, 'reloaded: no bank changed\n')
})

t.test('a reload that changed nothing is a refusal', async (t) => {
  const draining = await startScriptedDaemon(t, { reload: ok({ reloaded: false }) })
  const io = await draining.run(['reload'])
  t.equal(io.out, 'not reloaded: lsd is draining\n')
  t.equal(io.exitCode, 3)
  const wrong = await startScriptedDaemon(t, {
    reload: failed(
      'BAD_REQUEST',
      'ls.yaml is not a valid configuration:\n  banks.0.port: too big\n  x: unknown option',
    ),
  })
  const told = await wrong.run(['reload'])
  t.equal(
    told.err,
    'lsctl: ls.yaml is not a valid configuration: banks.0.port: too big; x: unknown option; nothing was changed (BAD_REQUEST)\n',
  )
  t.equal(told.exitCode, 3)
})
