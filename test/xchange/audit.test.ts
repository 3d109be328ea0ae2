import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runProgram } from '../../lib/cli/index.ts'
import { testBed } from '../support/daemons.ts'
import { dialPeer } from '../support/fake-peers.ts'
import { createRecordingIo } from '../support/recording-io.ts'

t.test('SEC-11 an xchange has an audit log of its own, signed with its identity', async (t) => {
  const bed = await testBed(t)
  const { xchanges } = await bed.startAll()
  const xchange = xchanges.get('044')
  if (xchange === undefined) throw new Error('044 was not started')
  await t.rejects(dialPeer({ port: xchange.port, node: bed.node('058') }), 'another bank is no LS')
  await xchange.log.until({ code: 'NOT_LS' })
  const good = readFileSync(xchange.configFile, 'utf8')
  writeFileSync(xchange.configFile, good.replace('"bankCode": "044"', '"bankCode": "no bank"'))
  await t.rejects(xchange.reload(), { code: 'BAD_REQUEST' })
  writeFileSync(xchange.configFile, good)
  await xchange.reload()
  await xchange.stop()

  const dir = join(bed.dir, '044', 'store.audit')
  const lsctl = async (...line: string[]) => {
    const io = createRecordingIo()
    await runProgram(io, ['audit', ...line, '--json'], '0')
    return io
  }
  const verified = await lsctl('verify', dir, '--identity', bed.node('044').pin)
  t.match(JSON.parse(verified.out), { ok: true, party: 'xchange 044', isClosed: true })
  const records = (await lsctl('tail', dir)).out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.match(
    records.filter(({ event }) => event !== 'checkpoint').map(({ event, facts }) => [event, facts.code]),
    [
      ['file-began', undefined],
      ['started', undefined],
      ['kx-completed', undefined],
      ['refusal', 'NOT_LS'],
      ['configuration-refused', 'BAD_REQUEST'],
      ['configuration-reloaded', undefined],
      ['stopped', undefined],
    ],
  )
  t.match(
    records.find(({ event }) => event === 'configuration-reloaded'),
    { by: { via: 'signal' }, facts: { changed: [] } },
  )
})
