import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { formatIdentityPin } from '../../lib/certs/index.ts'
import { runProgram } from '../../lib/cli/index.ts'
import { ChainBuilder } from '../support/audit-chain.ts'
import { newIdentity } from '../support/kx-parties.ts'
import { createRecordingIo } from '../support/recording-io.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const signer = newIdentity()
const pin = formatIdentityPin(signer.publicKey)

/** A log on disk, in two files. */
function logOf(t: Test): { dir: string; chain: ChainBuilder; write(): void } {
  const dir = join(t.testdir(), 'audit')
  mkdirSync(dir)
  const chain = new ChainBuilder(signer)
  for (const bankCode of ['044', '058', '044'])
    chain.add({ event: 'refusal', bankCode, facts: { code: 'IP_DENIED', message: 'no' } })
  chain.beginFile()
  chain.add({
    event: 'command',
    by: { via: 'ls-admin.sock', provenUids: [0], claimed: { user: 'ada' } },
    facts: { op: 'drop' },
  })
  const write = () => {
    for (const { name, lines } of chain.files) writeFileSync(join(dir, name), `${lines.join('\n')}\n`)
  }
  write()
  return { dir, chain, write }
}

async function lsctl(line: readonly string[], io = createRecordingIo()) {
  await runProgram(io, ['audit', ...line], '0')
  return io
}

t.test('SEC-11 tail prints the newest records, chosen by bank and event', async (t) => {
  const { dir } = logOf(t)
  const all = (await lsctl(['tail', dir, '--limit', '2'])).out.trimEnd().split('\n')
  t.equal(all.length, 2)
  t.match(all[1], /command .*"op":"drop".*by ls-admin.sock, claims to be ada, proven uid 0/)
  const chosen = (await lsctl(['tail', dir, '--bank', '044', '--json'])).out.trimEnd().split('\n')
  t.strictSame(
    chosen.map((line) => JSON.parse(line).bankCode),
    ['044', '044'],
  )
  t.equal((await lsctl(['tail', dir, '--event', 'file-began'])).out.trimEnd().split('\n').length, 2)
  t.equal((await lsctl(['tail', join(dir, 'absent')])).exitCode, 3)
  const later = createRecordingIo({ clock: new VirtualClock(1_900_000_000_000) })
  t.equal((await lsctl(['tail', dir, '--since', '1h'], later)).out, '', 'these are of another year')
})

t.test('SEC-11 tail goes on with each whole line, and over to the next file', async (t) => {
  const { dir, chain } = logOf(t)
  const stop = new AbortController()
  const io = createRecordingIo({ interrupt: stop.signal })
  const running = lsctl(['tail', dir, '--follow'], io)
  await io.untilOut(/drop/)
  const before = chain.files[1]?.lines.length ?? 0
  chain.add({ event: 'resumed', bankCode: '044' })
  const path = join(dir, 'audit.000002.ndjson')
  const added = (chain.files[1]?.lines.slice(before) ?? []).join('\n')
  appendFileSync(path, added.slice(0, 20))
  appendFileSync(path, `${added.slice(20)}\n`)
  await io.untilOut(/resumed/)
  const reached = chain.files[1]?.lines.length ?? 0
  chain.beginFile()
  chain.add({ event: 'stopped' })
  appendFileSync(path, `${(chain.files[1]?.lines.slice(reached) ?? []).join('\n')}\n`)
  writeFileSync(join(dir, 'audit.000003.ndjson'), `${(chain.files[2]?.lines ?? []).join('\n')}\n`)
  await io.untilOut(/stopped/)
  stop.abort()
  await running
  t.equal(io.out.match(/ resumed /g)?.length, 1, 'each once')
  t.equal(io.out.match(/ stopped /g)?.length, 1)
})

t.test('SEC-11 verify says what is wrong and where, with an exit code for scripts', async (t) => {
  const { dir, chain, write } = logOf(t)
  const good = await lsctl(['verify', dir, '--identity', pin])
  t.equal(good.exitCode, 0, good.out)
  t.match(good.out, /records are chained but not yet signed; whether more were cut off behind them cannot be proven/)
  t.match((await lsctl(['verify', dir, '--identity', pin, '--bank', '044'])).out, /^2 records are of bank 044\n/)
  const files = chain.files.map(({ name }) => join(dir, name))
  t.equal((await lsctl(['verify', ...files, '--identity', pin])).exitCode, 0)
  t.match(
    (await lsctl(['verify', files[1] ?? '', '--identity', pin])).out,
    /it begins at \d+: what was before is not at hand/,
  )
  t.equal((await lsctl(['verify', ...files.toReversed(), '--identity', pin])).exitCode, 1, 'in another order')
  const short = await lsctl(['verify', dir, '--identity', pin, '--at-least', '1000', '--json'])
  t.match(JSON.parse(short.out), { ok: false, findings: [{ kind: 'truncated' }] })
  chain.files[0]?.lines.splice(2, 1)
  write()
  const cut = await lsctl(['verify', dir, '--identity', pin])
  t.equal(cut.exitCode, 1)
  t.match(cut.out, /^missing {2}audit\.000001\.ndjson:3 record 3: the records 2 are missing before it$/m)
  t.match(cut.out, /NOT verified\n$/)
})

t.test('SEC-11 verify takes keys from pins, files and a directory, and never from the log itself', async (t) => {
  const { dir } = logOf(t)
  const keys = join(dir, '..')
  for (const folder of ['keys', 'empty']) mkdirSync(join(keys, folder))
  writeFileSync(join(keys, 'keys', 'old.pub'), `${formatIdentityPin(newIdentity().publicKey)}\n`)
  writeFileSync(join(keys, 'keys', 'ls.pub'), `${pin}\n`)
  t.equal((await lsctl(['verify', dir, '--keys', join(keys, 'keys')])).exitCode, 0)
  t.equal((await lsctl(['verify', dir, '--identity', join(keys, 'keys', 'ls.pub')])).exitCode, 0)
  t.equal((await lsctl(['verify', dir, '--identity', join(keys, 'keys', 'old.pub')])).exitCode, 1)
  t.equal((await lsctl(['verify', dir])).exitCode, 2)
  t.equal((await lsctl(['verify', dir, '--keys', join(keys, 'empty')])).exitCode, 2)
})
