import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  createFileExclusive,
  readPublicFile,
  readSecretFile,
  secretFileProblem,
  writeFileAtomic,
} from '../../lib/certs/files.ts'

function secretFile(dir: string, mode: number): string {
  const file = join(dir, `secret-${mode.toString(8)}`)
  writeFileSync(file, 'the secret')
  chmodSync(file, mode)
  return file
}

t.test('SEC-10 a secret file that anyone but its owner may touch is refused', (t) => {
  const dir = t.testdir()
  for (const mode of [0o600, 0o400]) t.equal(readSecretFile(secretFile(dir, mode)).toString(), 'the secret')
  for (const mode of [0o640, 0o604, 0o644, 0o660, 0o620, 0o602, 0o610, 0o777]) {
    const file = secretFile(dir, mode)
    t.throws(
      () => readSecretFile(file),
      { code: 'REFUSED', party: 'self', facts: { file }, message: `run: chmod 600 ${file}` },
      mode.toString(8),
    )
  }
  t.end()
})

t.test('SEC-10 a secret file of another user is refused, of root or of oneself it is fine', (t) => {
  t.match(secretFileProblem('k', { mode: 0o100600, uid: 1001 }, 1000), 'belongs to another user (uid 1001)')
  t.match(secretFileProblem('k', { mode: 0o100600, uid: 1001 }, 0), 'belongs to another user')
  t.equal(secretFileProblem('k', { mode: 0o100600, uid: 1000 }, 1000), undefined)
  t.equal(secretFileProblem('k', { mode: 0o100600, uid: 0 }, 1000), undefined)

  const file = secretFile(t.testdir(), 0o600)
  const ownUid = process.geteuid?.() ?? 0
  if (ownUid === 0) chownSync(file, 12_345, 12_345)
  if (ownUid === 0) t.throws(() => readSecretFile(file), { code: 'REFUSED', message: /uid 12345/ })
  else t.equal(readSecretFile(file).toString(), 'the secret')
  t.end()
})

t.test('a symbolic link is judged by its target', (t) => {
  const dir = t.testdir()
  const strict = secretFile(dir, 0o600)
  const loose = secretFile(dir, 0o644)
  symlinkSync(strict, join(dir, 'to-strict'))
  symlinkSync(loose, join(dir, 'to-loose'))
  symlinkSync(join(dir, 'circle'), join(dir, 'circle'))
  t.equal(readSecretFile(join(dir, 'to-strict')).toString(), 'the secret')
  t.throws(() => readSecretFile(join(dir, 'to-loose')), { code: 'REFUSED', message: /open to other users/ })
  t.throws(() => readSecretFile(join(dir, 'circle')), { code: 'REFUSED', message: /symbolic links/ })
  t.end()
})

t.test('what is not a regular file of sensible size is refused', (t) => {
  const dir = t.testdir()
  mkdirSync(join(dir, 'directory'), { mode: 0o700 })
  t.throws(() => readSecretFile(join(dir, 'directory')), { code: 'REFUSED', message: /not a regular file/ })
  t.throws(() => readSecretFile(join(dir, 'absent')), { code: 'REFUSED', message: /no such file/ })
  t.throws(() => readSecretFile('/dev/null'), { code: 'REFUSED', message: /not a regular file/ })

  // A pipe that nobody writes to would block a plain open for ever.
  const pipe = join(dir, 'pipe')
  execFileSync('mkfifo', ['-m', '600', pipe])
  t.throws(() => readSecretFile(pipe), { code: 'REFUSED', message: /not a regular file/ })

  const exact = join(dir, 'exact')
  writeFileSync(exact, Buffer.alloc(64 * 1024), { mode: 0o600 })
  t.equal(readSecretFile(exact).length, 64 * 1024)
  writeFileSync(exact, Buffer.alloc(64 * 1024 + 1))
  t.throws(() => readSecretFile(exact), { code: 'REFUSED', message: /larger than 65536/ })
  t.end()
})

t.test('a public file may be read by all but changed by the owner only', (t) => {
  const dir = t.testdir()
  for (const mode of [0o644, 0o664, 0o400]) t.equal(readPublicFile(secretFile(dir, mode)).toString(), 'the secret')
  for (const mode of [0o646, 0o602]) {
    t.throws(() => readPublicFile(secretFile(dir, mode)), { code: 'REFUSED', message: /chmod o-w/ })
  }
  t.end()
})

t.test('files are written whole, with their mode whatever the umask, and nothing stays behind', (t) => {
  const dir = t.testdir()
  const file = join(dir, 'file')
  const umask = process.umask(0o077)
  t.teardown(() => process.umask(umask))
  writeFileAtomic(file, 'one', 0o644)
  t.equal(statSync(file).mode & 0o777, 0o644)
  process.umask(0)
  writeFileAtomic(file, 'two', 0o600)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal(readFileSync(file, 'utf8'), 'two')
  t.throws(() => writeFileAtomic(join(dir, 'absent', 'file'), '', 0o600), { code: 'REFUSED', party: 'self' })
  mkdirSync(join(dir, 'taken'))
  t.throws(() => writeFileAtomic(join(dir, 'taken'), 'x', 0o600), { code: 'REFUSED' })
  t.strictSame(readdirSync(dir).sort(), ['file', 'taken'])
  t.end()
})

t.test('an exclusive file never replaces what has its name', (t) => {
  const dir = t.testdir()
  const file = join(dir, 'file')
  createFileExclusive(file, 'one', 0o600)
  t.throws(() => createFileExclusive(file, 'two', 0o600), { code: 'REFUSED', message: /never overwritten/ })
  symlinkSync(join(dir, 'nowhere'), join(dir, 'dangling'))
  t.throws(() => createFileExclusive(join(dir, 'dangling'), 'two', 0o600), { code: 'REFUSED' })
  t.equal(readFileSync(file, 'utf8'), 'one')
  t.strictSame(readdirSync(dir).sort(), ['dangling', 'file'])
  t.end()
})
