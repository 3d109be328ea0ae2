import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createAuthority, createIdentityFile, issueCertificate } from '../../lib/certs/index.ts'
import { addCertsCommands } from '../../lib/cli/certs.ts'
import { ExitCode } from '../../lib/cli/io.ts'
import { addKeysCommands } from '../../lib/cli/keys.ts'
import { type RecordingIo, runLine } from '../support/recording-io.ts'

function configured(t: Test) {
  const dir = t.testdir({})
  writeFileSync(join(dir, 'store.key'), `${Buffer.alloc(32, 7).toString('base64')}\n`, { mode: 0o600 })
  const { pin } = createIdentityFile(join(dir, 'identity.key'))
  const config = join(dir, 'xchange.yaml')
  writeFileSync(
    config,
    'bankCode: "044"\nstoreDir: store\nstoreKeyFile: store.key\nidentityKeyFile: identity.key\nother: 1\n',
  )
  const keys = (...line: string[]): Promise<RecordingIo> =>
    runLine(addKeysCommands, ['keys', ...line, '--config', config])
  return { dir, pin, keys }
}

t.test('SEC-10 MESH-4 the keys of a node are shown and rotated by its files', async (t) => {
  const { pin, keys } = configured(t)
  t.match((await keys('show')).out, /^KIND +KEY +STATE +AGE +NEXT\nidentity +\S+ +active +0 days +rotate by 20/)
  const prepared = await keys('rotate', '--kind', 'identity', '--prepare')
  t.match(prepared.out, /next +0 days +waits for a command/)
  const [next = ''] = /^ed25519:.*$/m.exec(prepared.out) ?? []
  t.not(next, pin)
  const planned = await keys('rotate', '--kind', 'identity', '--schedule', '7d')
  t.match(planned.out, /in use from 20\d\d-/)
  t.match(planned.out, next, 'the same next key')
  const rotated = await keys('rotate', '--kind', 'identity', '--json')
  t.match(JSON.parse(rotated.out), {
    kind: 'identity',
    keys: [
      { state: 'active', publicKey: next },
      { state: 'retired', publicKey: pin },
    ],
  })
  t.match(JSON.parse((await keys('show', '--json')).out).keys.length, 3)
})

t.test('SEC-10 what cannot be rotated is said, and nothing is changed', async (t) => {
  const { keys } = configured(t)
  const before = (await keys('show')).out
  const wrong: readonly (readonly string[])[] = [
    ['rotate'],
    ['rotate', '044', '--kind', 'identity'],
    ['rotate', '--all', '--kind', 'store'],
    ['rotate', '--kind', 'jws'],
    ['rotate', '--kind', 'token'],
    ['rotate', '--kind', 'store', '--schedule', 'soon'],
  ]
  for (const line of wrong) {
    const io = await keys(...line)
    t.equal(io.exitCode, ExitCode.usage, line.join(' '))
    t.match(io.err, /BAD_REQUEST/)
  }
  t.equal((await keys('show')).out, before)
})

t.test('SEC-2 lsctl certs rotate says what it did and what is left to do', async (t) => {
  const dir = t.testdir({})
  await createAuthority({ dir, trustDomain: 'ls-xchange.test' })
  await issueCertificate({ dir, role: 'xchange', bankCode: '044', days: 30 })
  const certs = (...line: string[]) => runLine(addCertsCommands, ['certs', ...line, '--dir', dir])
  const io = await certs('rotate', 'xchange', '044', '--days', '60')
  t.match(io.out, /^rotated spiffe:\/\/ls-xchange\.test\/xchange\/044: valid until .*, was until /)
  t.match(io.out, /let the daemon reload: kill -HUP its process/)
  t.match((await certs('rotate', 'lsd')).err, /issue the first one with: lsctl certs issue/)
  t.match((await certs('check')).out, /59 +ok/)
})
