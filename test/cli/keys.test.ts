import { chmodSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { addKeysCommands } from '../../lib/cli/keys.ts'
import { type RecordingIo, runLine } from '../support/recording-io.ts'

function keys(...line: string[]): Promise<RecordingIo> {
  return runLine(addKeysCommands, ['keys', ...line])
}

t.test('SEC-10 a new identity, of which only the pin is ever shown', async (t) => {
  const file = join(t.testdir(), 'identity.key')
  const made = await keys('new', '--out', file)
  const [pin] = made.out.split('\n')
  t.match(pin, /^ed25519:[A-Za-z0-9+/]{43}=$/)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal((await keys('show', file)).out, `${pin}\n`)
  t.equal((await keys('show', file.replace('.key', '.pub'))).out, `${pin}\n`)
  t.strictSame(JSON.parse((await keys('show', file, '--json')).out), { file, pin })
  const secret = readFileSync(file, 'utf8').split('\n')[1] ?? ''
  t.ok(secret.length > 40)
  t.notMatch(made.out, secret)

  const again = await keys('new', '--out', file)
  t.equal(again.exitCode, 3)
  t.match(again.err, /never overwritten/)
  t.equal((await keys('show', file)).out, `${pin}\n`)
  const other = JSON.parse((await keys('new', '--out', `${file}2`, '--json')).out)
  t.match(other, { keyFile: `${file}2`, pinFile: `${file}2.pub` })
  t.not(other.pin, pin)
})

t.test('SEC-10 what cannot be shown is told', async (t) => {
  const file = join(t.testdir({ 'wrong.pub': 'x' }), 'identity.key')
  await keys('new', '--out', file)
  chmodSync(file, 0o644)
  const loose = await keys('show', file)
  t.equal(loose.exitCode, 3)
  t.match(loose.err, /run: chmod 600/)
  t.equal(loose.out, '')
  t.equal((await keys('show', `${file}.absent`)).exitCode, 3)
  t.equal((await keys('show', file.replace('identity.key', 'wrong.pub'))).exitCode, 1)
  await t.rejects(keys('new'), { name: 'CommanderError' })
})
