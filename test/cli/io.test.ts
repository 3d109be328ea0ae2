import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import { ExitCode, paint, printable, printJson, printTable, runCommand } from '../../lib/cli/io.ts'
import { type ErrorCode, LsxError } from '../../lib/runtime/index.ts'
import { createRecordingIo } from '../support/recording-io.ts'

t.test('a table is plain aligned text, a line a row', (t) => {
  const io = createRecordingIo()
  printTable(
    io,
    ['FILE', 'DAYS'],
    [
      ['a', 1],
      ['longer name', { text: 'expired', tone: 'bad' }],
    ],
  )
  t.equal(io.out, ['FILE         DAYS', 'a            1', 'longer name  expired', ''].join('\n'))
  const empty = createRecordingIo()
  printTable(empty, ['FILE', 'DAYS'], [])
  t.equal(empty.out, 'FILE  DAYS\n')
  t.end()
})

t.test('colours only on a terminal and without NO_COLOR', (t) => {
  const tty = createRecordingIo({ isTty: true })
  t.equal(paint(tty, 'bad', 'x'), '\u001b[31mx\u001b[0m')
  t.equal(paint(createRecordingIo({ isTty: true, env: { NO_COLOR: '' } }), 'bad', 'x'), '\u001b[31mx\u001b[0m')
  t.equal(paint(createRecordingIo({ isTty: true, env: { NO_COLOR: '1' } }), 'bad', 'x'), 'x')
  t.equal(paint(createRecordingIo(), 'bad', 'x'), 'x')

  printTable(tty, ['A', 'B'], [[{ text: 'long text', tone: 'good' }, 'b']])
  const plain = stripVTControlCharacters(tty.out)
  t.not(plain, tty.out)
  t.equal(plain, 'A          B\nlong text  b\n', 'colours do not move columns')
  t.end()
})

t.test('what others wrote cannot command the terminal', (t) => {
  t.equal(printable('a\u001b[2Jb\r\n\u009b\u202e\u2028c é ₦'), 'a\ufffd[2Jb\ufffd\ufffd\ufffd\ufffd\ufffdc é ₦')
  const io = createRecordingIo()
  printTable(io, ['A'], [['x\u001b[2J\ny'], [{ text: '\u0007', tone: 'bad' }]])
  t.equal(io.out, 'A\nx\ufffd[2J\ufffdy\n\ufffd\n')
  t.end()
})

t.test('a failed command says why and sets an exit code that scripts can use', async (t) => {
  const codes: readonly (readonly [ErrorCode, number])[] = [
    ['BAD_REQUEST', ExitCode.usage],
    ['REFUSED', ExitCode.refused],
    ['CERT_DENIED', ExitCode.failed],
    ['INTERNAL', ExitCode.failed],
    ['IN_DOUBT', ExitCode.inDoubt],
  ]
  for (const [code, exitCode] of codes) {
    const io = createRecordingIo()
    await runCommand(io, false, () => {
      throw new LsxError(code, 'what\nhappened')
    })
    t.equal(io.err, `lsctl: what\ufffdhappened (${code})\n`)
    t.equal(io.exitCode, exitCode, code)
    t.equal(io.out, '')
  }
  const json = createRecordingIo()
  await runCommand(json, true, async () => {
    throw new LsxError('REFUSED', 'no', { party: 'self', facts: { file: 'x' } })
  })
  t.strictSame(JSON.parse(json.err), { code: 'REFUSED', party: 'self', message: 'no' })
  const fine = createRecordingIo()
  await runCommand(fine, false, () => printJson(fine, { a: 1 }))
  t.equal(fine.out, '{"a":1}\n')
  t.equal(fine.exitCode, undefined)
})
