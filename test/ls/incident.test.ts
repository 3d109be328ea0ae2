import { cpSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runProgram } from '../../lib/cli/index.ts'
import { createSigningKeyFiles } from '../../lib/message/jws/index.ts'
import { TestBed } from '../support/daemons.ts'
import { createRecordingIo } from '../support/recording-io.ts'

t.test('SEC-12 an incident from its first sign to its end, with real processes and on the command line', async (t) => {
  const bed = await TestBed.create({ banks: [{ code: '044', dial: 'ls' }] })
  t.teardown(() => bed.stop())
  const keys = { ls: join(bed.dir, 'keys-of-ls'), bank: join(bed.dir, 'keys-of-bank') }
  const keyFile = (name: string) => join(bed.dir, `${name}.key`)
  createSigningKeyFiles({ keyFile: keyFile('ls'), directory: keys.ls, party: 'ls' })
  cpSync(join(keys.ls, 'ls'), join(keys.bank, 'ls'), { recursive: true })
  const genuine = createSigningKeyFiles({ keyFile: keyFile('genuine'), directory: keys.ls, party: '044' })
  // Somebody at the bank signs with a key of his own, under the name of the bank's.
  createSigningKeyFiles({ keyFile: keyFile('forged'), directory: keys.bank, party: '044' })
  const bankConfig = (name: string, keyId: string) => ({
    config: { signing: { keyFile: keyFile(name), keyId, directory: keys.bank } },
  })
  const forger = await bed.startXchangeProcess('044', bankConfig('forged', genuine.keyId))
  const { port } = forger
  const rules = [{ kind: 'bad-signature', count: 3, windowMs: 600_000 }]
  const ls = await bed.startLsProcess({
    config: {
      signing: { keyFile: keyFile('ls'), directory: keys.ls, directoryPollMs: 100 },
      quarantine: { rules },
    },
  })
  await ls.connected('044')
  const lsctl = async (...line: string[]) => {
    const io = createRecordingIo({ env: { LSX_RUNTIME_DIR: join(bed.dir, 'ls', 'run') } })
    await runProgram(io, line, '0.0.0-test')
    return io
  }

  // Bad signatures: no answer is believed, and the third ends it.
  for (let n = 0; n < 3; n++) {
    const { outcome, code } = await ls.ask({ to: '044', method: 'echo' })
    t.strictSame({ outcome, code }, { outcome: 'in-doubt', code: 'SIGNATURE_INVALID' })
  }
  await ls.log.until({ bankCode: '044', to: 'quarantined' })
  t.equal((await lsctl('send', '044', 'echo')).exitCode, 3, 'refused')
  t.match((await lsctl('status', '044')).out, /3 times bad-signature within 600 s/)

  // Audit: what led to it, and proof that nobody has touched the record of it.
  const tail = await lsctl('audit', 'tail', '--bank', '044', '--event', 'quarantined', '--json')
  const [quarantined] = tail.out.split('\n').filter((line) => line !== '')
  const record = JSON.parse(quarantined ?? '{}') as { facts: { evidence: unknown[] } }
  t.match(record, { by: { via: 'rule' }, facts: { rule: rules[0] } })
  t.equal(record.facts.evidence.length, 3)
  const verified = await lsctl('audit', 'verify', '--identity', bed.node('lsd').pin)
  t.equal(verified.exitCode, 0, verified.out)

  // Rotate: the bank gets another key, LS looks it up, and LS's own is replaced as well.
  await forger.stop()
  const fresh = createSigningKeyFiles({ keyFile: keyFile('fresh'), directory: keys.ls, party: '044' })
  await ls.admin('keys-rotate', { kind: 'jws' })
  cpSync(join(keys.ls, 'ls'), join(keys.bank, 'ls'), { recursive: true })
  await bed.startXchangeProcess('044', { ...bankConfig('fresh', fresh.keyId), port })
  const reloaded = await lsctl('reload')
  t.equal(reloaded.exitCode, 0, reloaded.err)
  t.match((await lsctl('send', '044', 'echo')).err, /QUARANTINED|lsctl resume/, 'a rotation alone lets nobody back')

  // Resume.
  const { mark } = ls.log
  const resumed = await lsctl('resume', '044')
  t.equal(resumed.exitCode ?? 0, 0, resumed.err)
  await ls.connected('044', mark)
  t.match(await ls.ask({ to: '044', method: 'echo', payload: 1 }), { outcome: 'answered', payload: 1 })

  await ls.stop()
  const dir = join(bed.dir, 'ls', 'store.audit')
  const whole = await lsctl('audit', 'verify', dir, '--identity', bed.node('lsd').pin, '--json')
  t.match(JSON.parse(whole.out), { ok: true, isClosed: true, findings: [] })
  const story = (await lsctl('audit', 'tail', dir, '--json', '--limit', '1000')).out
    .split('\n')
    .filter((line) => line !== '')
  const events = story.map((line) => JSON.parse(line) as { event: string; facts: { op?: string } })
  const told = events.flatMap(({ event, facts }) => {
    if (event === 'command') return [`command ${facts.op}`]
    return ['evidence', 'quarantined', 'key-rotated', 'configuration-reloaded', 'resumed'].includes(event)
      ? [event]
      : []
  })
  t.strictSame(
    told.filter((event, index) => told.indexOf(event) === index),
    [
      'evidence',
      'quarantined',
      'command keys-rotate',
      'key-rotated',
      'command reload',
      'configuration-reloaded',
      'command resume',
      'resumed',
    ],
  )
})
