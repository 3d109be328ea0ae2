import { join } from 'node:path'
import t from 'tap'
import { runProgram } from '../../lib/cli/index.ts'
import { testBed } from '../support/daemons.ts'
import { createRecordingIo } from '../support/recording-io.ts'

t.test('SEC-11 what lsd records is proven by lsctl, with the daemon and without it', async (t) => {
  const bed = await testBed(t, { banks: [{ code: '044', dial: 'ls' }] })
  const { ls } = await bed.startAll()
  const runtimeDir = join(bed.dir, 'ls', 'run')
  const auditDir = join(bed.dir, 'ls', 'store.audit')
  const lsctl = async (...line: string[]) => {
    const io = createRecordingIo({ env: { LSX_RUNTIME_DIR: runtimeDir } })
    await runProgram(io, ['audit', ...line], '0.0.0-test')
    return io
  }

  await ls.admin('quarantine', { bank: '044', reason: 'a test' })
  await ls.admin('resume', { bank: '044' })
  const live = await lsctl('verify', '--bank', '044')
  t.match(live.out, /the identity is the one that lsd names itself/)
  t.match(live.out, /verified/)
  t.equal(live.exitCode, 0, live.err)
  await ls.stop()

  const pin = bed.node('lsd').pin
  const offline = await lsctl('verify', auditDir, '--identity', pin, '--json')
  t.equal(offline.exitCode, 0, offline.err)
  t.match(JSON.parse(offline.out), { ok: true, isClosed: true, party: 'ls', unsigned: 0, pinFrom: 'command line' })
  const wrongPin = await lsctl('verify', auditDir, '--identity', bed.node('044').pin)
  t.equal(wrongPin.exitCode, 1)
  t.match(wrongPin.out, /NOT verified/)
  t.equal((await lsctl('verify', auditDir)).exitCode, 2, 'a key has to be named')
  const tail = await lsctl('tail', auditDir)
  t.match(tail.out, /started/)
  t.match(tail.out, /stopped/)
})

t.test('SEC-11 lsd is killed: the chain goes on after the crash, and the whole verifies', async (t) => {
  const bed = await testBed(t, { banks: [{ code: '044', dial: 'xchange' }] })
  const first = await bed.startLsProcess()
  await first.admin('quarantine', { bank: '044', reason: 'a test' })
  for (let buffered = 1; buffered > 0; ) {
    const { daemon } = (await first.admin('status')) as { daemon: { audit: { buffered: number } } }
    buffered = daemon.audit.buffered
  }
  await first.kill()
  const second = await bed.startLsProcess()
  t.match(await second.bankStatus('044'), { state: 'quarantined' })
  await second.stop()
  const io = createRecordingIo()
  const dir = join(bed.dir, 'ls', 'store.audit')
  await runProgram(io, ['audit', 'verify', dir, '--identity', bed.node('lsd').pin, '--json'], '0.0.0-test')
  t.match(JSON.parse(io.out), { ok: true, isClosed: true, findings: [] })
  const tail = createRecordingIo()
  await runProgram(tail, ['audit', 'tail', dir, '--json'], '0.0.0-test')
  const events = tail.out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).event as string)
  t.strictSame(
    events.filter((event) => ['started', 'quarantined', 'recovered', 'stopped'].includes(event)),
    ['started', 'quarantined', 'recovered', 'started', 'stopped'],
  )
})
