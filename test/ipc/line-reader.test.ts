import t from 'tap'
import { LineReader } from '../../lib/ipc/line-reader.ts'

function readerOf(maxLineBytes = 100): { reader: LineReader; lines: string[] } {
  const lines: string[] = []
  const reader = new LineReader({ maxLineBytes, receiveLine: (line) => void lines.push(line.toString()) })
  return { reader, lines }
}

t.test('lines are the same however the stream is cut', async (t) => {
  const expected = ['one', '', 'the third, with ü', 'x'.repeat(100)]
  const stream = Buffer.from(`${expected.join('\n')}\n`)
  for (let size = 1; size <= stream.length; size++) {
    const { reader, lines } = readerOf()
    for (let offset = 0; offset < stream.length; offset += size) reader.push(stream.subarray(offset, offset + size))
    t.same(lines, expected, `in chunks of ${size}`)
    t.equal(reader.partial, false)
  }
})

t.test('what is left without a newline is a line when the stream ends', async (t) => {
  const { reader, lines } = readerOf()
  reader.push(Buffer.from('one\ntw'))
  t.equal(reader.partial, true)
  reader.push(Buffer.from('o'))
  reader.end()
  t.same(lines, ['one', 'two'])
  reader.end()
  t.equal(lines.length, 2, 'once')
})

t.test('a line over the limit is refused, ended or not', async (t) => {
  t.throws(() => readerOf().reader.push(Buffer.from('x'.repeat(101))), { code: 'TOO_LARGE' })
  t.throws(() => readerOf().reader.push(Buffer.from(`${'x'.repeat(101)}\n`)), { code: 'TOO_LARGE' })
  const { reader } = readerOf()
  reader.push(Buffer.from('x'.repeat(60)))
  t.throws(() => reader.push(Buffer.from('x'.repeat(41))), { code: 'TOO_LARGE' })
})
