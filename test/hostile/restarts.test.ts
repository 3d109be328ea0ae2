import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { type OwnProcess, type TestDaemon, type TestLs, TWO_BANKS, testBed, vacantPort } from '../support/daemons.ts'
import { openHandles, untilHandles } from '../support/open-handles.ts'

t.test('LS-13 real processes that are killed come back alone', async (t) => {
  const handles = openHandles()
  const bed = await testBed(t, { times: { drain: { timeoutMs: 2_000 } } })
  let xchange: TestDaemon & OwnProcess = await bed.startXchangeProcess('044')
  const xchangePort = xchange.port
  let ls: TestLs & OwnProcess = await bed.startLsProcess()
  const lsPort = ls.port
  let dialling: TestDaemon & OwnProcess = await bed.startXchangeProcess('058')
  await Promise.all(TWO_BANKS.map(({ code }) => ls.connected(code)))
  const answers = async (bank: string) =>
    t.match(await ls.ask({ to: bank, method: 'echo', payload: bank }), { outcome: 'answered', payload: bank })
  const startLs = () => bed.startLsProcess({ config: { listen: { port: lsPort } } })

  await t.test('LS-13 LS-14 an xchange that LS dials, killed with a request in flight', async (t) => {
    const mark = ls.log.mark
    const app = await ls.connectApp()
    const inFlight = app.request({ to: '044', method: 'hold', payload: { name: 'x' }, key: 'held', timeoutMs: 3_000 })
    // Comes back when the one before has left LS: the channel keeps the order.
    await app.request({ to: '044', method: 'echo' })
    const pid = xchange.pid
    await xchange.kill()
    const dropped = await ls.log.until({ bankCode: '044', from: 'connected', to: 'idle' }, { mark })
    t.match(dropped, { cause: 'peer-close', code: 'CHANNEL_DOWN', msg: /the peer closed the socket/ })
    await answers('058')
    const early = app.request({ to: '044', method: 'pid', timeoutMs: 20_000 })
    await ls.log.until(
      { bankCode: '044', cause: 'tcp', msg: /cannot reach 127\.0\.0\.1:\d+: .*ECONNREFUSED/ },
      { mark },
    )
    xchange = await bed.startXchangeProcess('044', { port: xchangePort })
    await ls.connected('044', mark)
    const { outcome, payload } = await early
    t.equal(outcome, 'answered', 'a request that came meanwhile waited')
    t.match(payload, { pid: xchange.pid })
    t.not(xchange.pid, pid)
    t.match(
      await inFlight,
      { outcome: 'in-doubt', code: 'IN_DOUBT' },
      'BEY-2 what was begun and not finished is in doubt',
    )
    await answers('044')
  })

  await t.test('LS-13 LS-14 an xchange that dials, killed', async (t) => {
    const mark = ls.log.mark
    await dialling.kill()
    await ls.log.until({ bankCode: '058', from: 'connected', to: 'idle', cause: 'peer-close' }, { mark })
    await answers('044')
    dialling = await bed.startXchangeProcess('058')
    await ls.connected('058', mark)
    await answers('058')
    t.pass('and it is connected again')
  })

  await t.test('LS-13 LS, killed with a request in flight', async (t) => {
    const app = await ls.connectApp()
    const inFlight = app.request({ to: '044', method: 'slow', payload: { ms: 10_000 }, key: 'of-the-dead' })
    await app.request({ to: '044', method: 'echo' })
    const marks = [xchange.log.mark, dialling.log.mark]
    const { generation } = ((await ls.admin('status')) as { daemon: { generation: number } }).daemon
    const told = t.rejects(
      inFlight,
      { code: 'IN_DOUBT', facts: { idempotencyKey: 'of-the-dead' } },
      'BEY-2 the app is told',
    )
    await ls.kill()
    await told
    t.match(await xchange.log.until({ msg: /the channel to LS ended/ }, { mark: marks[0] ?? 0 }), {
      cause: 'peer-close',
    })
    await dialling.log.until({ msg: /cannot reach LS at 127\.0\.0\.1:\d+; trying again/ }, { mark: marks[1] ?? 0 })
    ls = await startLs()
    await Promise.all(TWO_BANKS.map(({ code }) => ls.connected(code)))
    const after = ((await ls.admin('status')) as { daemon: { generation: number } }).daemon
    t.ok(after.generation > generation, 'BEY-8 the generation went up')
    await Promise.all(TWO_BANKS.map(({ code }) => answers(code)))
  })

  await t.test('LS-13 all at once', async (t) => {
    await Promise.all([ls.kill(), xchange.kill(), dialling.kill()])
    // The one that dials comes first: LS is not there yet.
    const [first, second] = await Promise.all([bed.startXchangeProcess('058', { port: lsPort }), startLs()])
    dialling = first
    ls = second
    await ls.connected('058')
    await ls.log.until({ bankCode: '044', cause: 'tcp' })
    xchange = await bed.startXchangeProcess('044', { port: xchangePort })
    await ls.connected('044')
    await Promise.all(TWO_BANKS.map(({ code }) => answers(code)))
    t.pass('each found the other')
  })

  await t.test('an xchange that is told to stop answers what it has, and says goodbye', async (t) => {
    const mark = ls.log.mark
    const app = await ls.connectApp()
    const slow = app.request({ to: '044', method: 'slow', payload: { ms: 300 } })
    await app.request({ to: '044', method: 'echo' })
    xchange.signal('SIGTERM')
    t.match(await slow, { outcome: 'answered', payload: { sleptMs: 300 } })
    t.equal(await xchange.exited, 0)
    const line = await ls.log.until({ bankCode: '044', from: 'connected', to: 'idle' }, { mark })
    t.match(
      line,
      { cause: 'peer-close', level: 30, msg: 'channel idle' },
      'an orderly end: the goodbye has left the process',
    )
  })

  await t.test('LS that is told to stop answers what it has, and says goodbye', async (t) => {
    const mark = dialling.log.mark
    const app = await ls.connectApp()
    const slow = app.request({ to: '058', method: 'slow', payload: { ms: 300 } })
    await app.request({ to: '058', method: 'echo' })
    ls.signal('SIGTERM')
    t.match(await slow, { outcome: 'answered', payload: { sleptMs: 300 } })
    t.equal(await ls.exited, 0)
    const line = await dialling.log.until({ msg: /the channel to LS ended/ }, { mark })
    t.match(line, { cause: 'peer-close', level: 30 })
    dialling.signal('SIGTERM')
    t.equal(await dialling.exited, 0)
  })

  await bed.stop()
  await untilHandles(handles)
})

t.test('LS-13 a port where nobody listens for a while', async (t) => {
  const bed = await testBed(t)
  const port = await vacantPort()
  const ls = await bed.startLs({ ports: { '044': port } })
  const xchange = await bed.startXchange('058', { port: ls.port })
  await ls.connected('058')
  await ls.log.untilCount(3, { bankCode: '044', cause: 'tcp', code: 'CHANNEL_DOWN', msg: /ECONNREFUSED/ })
  t.match((await ls.bankStatus('044')).lastFailure, { cause: 'tcp', code: 'CHANNEL_DOWN' })
  t.match(await ls.ask({ to: '058', method: 'echo', payload: 1 }), { outcome: 'answered' })
  const waiting = ls.ask({ to: '044', method: 'echo', payload: 'early' })
  await bed.startXchange('044', { port })
  t.match(await waiting, { outcome: 'answered', payload: 'early' })

  await ls.stop()
  await xchange.log.untilCount(3, { msg: /cannot reach LS at 127\.0\.0\.1:\d+; trying again/ })
  const again = await bed.startLs({ config: { listen: { port: ls.port } } })
  await again.connected('058')
  t.match(await again.ask({ to: '058', method: 'echo', payload: 2 }), { outcome: 'answered' })
})

t.test('lsd that is told to stop before it is ready stops at once', async (t) => {
  const bed = await testBed(t)
  const handles = openHandles()
  const silent = createServer((socket) => void socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as { port: number }
  const ls = bed.spawnLs({
    ports: { '044': port },
    config: { start: { readyWithinMs: 60_000 }, reconnect: { dialTimeoutMs: 60_000 } },
  })
  await ls.log.until({ bankCode: '044', msg: 'channel dialing' })
  ls.signal('SIGTERM')
  t.equal(await ls.exited, 0)
  t.strictSame(ls.log.all({ notify: 'READY=1' }), [])
  silent.close()
  await bed.stop()
  await untilHandles(handles)
})
