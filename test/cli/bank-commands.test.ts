import t from 'tap'
import { failed, ok, startScriptedDaemon } from '../support/scripted-daemon.ts'

const DONE = ok({ banks: [{ bankCode: '044', ok: true }] })

t.test('rekey takes one bank or all', async (t) => {
  const lsd = await startScriptedDaemon(t, { rekey: DONE })
  const one = await lsd.run(['rekey', '044'])
  t.equal(one.out, '044  key exchange begun; lsctl status shows the new epoch\n')
  t.equal(one.exitCode, 0)
  await lsd.run(['rekey', '--all'])
  t.strictSame(lsd.asked, [
    { op: 'rekey', bank: '044' },
    { op: 'rekey', all: true },
  ])
  for (const line of [['rekey'], ['rekey', '044', '--all']]) {
    const io = await lsd.run(line)
    t.equal(io.exitCode, 2)
    t.match(io.err, 'name one bank, or give --all')
  }
  t.equal(lsd.asked.length, 2)
})

t.test('of all banks, those that could not be rekeyed are told, and the exit code says so', async (t) => {
  const banks = [
    { bankCode: '044', ok: true },
    { bankCode: '058', ok: false, code: 'CHANNEL_DOWN', message: 'the channel is idle\u001b' },
  ]
  const lsd = await startScriptedDaemon(t, { rekey: ok({ banks }) })
  const io = await lsd.run(['rekey', '--all'])
  t.match(
    io.out,
    /^044 {2}key exchange begun.*\n058 {2}the channel is idle\ufffd; lsctl status says why \(CHANNEL_DOWN\)\n$/,
  )
  t.equal(io.exitCode, 3)
  const json = await lsd.run(['rekey', '--all', '--json'])
  t.strictSame(JSON.parse(json.out), { banks })
  t.equal(json.exitCode, 3)
  const none = await startScriptedDaemon(t, { rekey: ok({ banks: [] }) })
  t.equal((await none.run(['rekey', '--all'])).out, 'no bank is configured\n')
})

t.test('drop', async (t) => {
  const lsd = await startScriptedDaemon(t, { drop: DONE })
  const io = await lsd.run(['drop', '044'])
  t.equal(io.out, '044  dropped; it reconnects by itself\n')
  t.equal(io.exitCode, 0)
  t.strictSame(lsd.asked, [{ op: 'drop', bank: '044' }])
  t.strictSame(JSON.parse((await lsd.run(['drop', '044', '--json'])).out), { banks: [{ bankCode: '044', ok: true }] })
  t.equal((await lsd.run(['drop'])).exitCode, 2)
})

t.test('a channel that is down is a refusal of lsd, not an absent lsd', async (t) => {
  const down = failed('CHANNEL_DOWN', 'the channel is idle; there is no socket to drop')
  const lsd = await startScriptedDaemon(t, { drop: down, rekey: down })
  for (const command of ['drop', 'rekey']) {
    const io = await lsd.run([command, '044'])
    t.equal(io.exitCode, 3)
    t.match(
      io.err,
      /^lsctl: the channel is idle; there is no socket to drop; lsctl status says why \(CHANNEL_DOWN\)\n$/,
    )
    t.equal(io.out, '')
  }
})

t.test('quarantine wants a reason', async (t) => {
  const result = { bankCode: '044', state: 'quarantined', reason: 'key lost' }
  const lsd = await startScriptedDaemon(t, { quarantine: ok(result) })
  const io = await lsd.run(['quarantine', '044', '--reason', 'key lost'])
  t.equal(io.out, '044  quarantined: key lost\nlsctl resume 044 ends it\n')
  t.strictSame(lsd.asked, [{ op: 'quarantine', bank: '044', reason: 'key lost' }])
  t.strictSame(JSON.parse((await lsd.run(['quarantine', '044', '--reason', 'x', '--json'])).out), result)
  t.equal(
    (await lsd.run(['quarantine', '044', '--reason', 'another'])).out,
    '044  quarantined before, and stays so: key lost\nlsctl resume 044 ends it\n',
    'the reason that is in force, not the one that was given now',
  )
  const bare = await lsd.run(['quarantine', '044'])
  t.equal(bare.exitCode, 2)
  t.match(bare.err, '--reason')
})

t.test('resume', async (t) => {
  const result = { bankCode: '044', state: 'idle' }
  const lsd = await startScriptedDaemon(t, { resume: ok(result) })
  t.equal((await lsd.run(['resume', '044'])).out, '044  resumed; its channel comes back by itself\n')
  t.strictSame(lsd.asked, [{ op: 'resume', bank: '044' }])
  t.strictSame(JSON.parse((await lsd.run(['resume', '044', '--json'])).out), result)
  const other = await startScriptedDaemon(t, { resume: failed('BAD_REQUEST', 'bank 044 is not in quarantine') })
  const io = await other.run(['resume', '044'])
  t.equal(io.exitCode, 2)
  t.match(io.err, 'bank 044 is not in quarantine')
})

t.test('SEC-11 lsctl says who runs it', async (t) => {
  const daemon = await startScriptedDaemon(t, { drop: DONE })
  await daemon.run(['drop', '044'])
  t.strictSame(daemon.claims, [{ user: 'ada' }])
})
