import t from 'tap'
import { Screen } from '../../lib/cli/screen.ts'
import { createRecordingIo } from '../support/recording-io.ts'

t.test('a picture never scrolls the terminal', (t) => {
  const io = createRecordingIo({ isTty: true, columns: 10, rows: 5 })
  const screen = new Screen(io)
  screen.draw('1\n2\n3\n4\n')
  t.equal(io.out, '\u001b[2J\u001b[H1\u001b[K\n2\u001b[K\n3\u001b[K\n4\u001b[K\n\u001b[J')
  const many = createRecordingIo({ isTty: true, columns: 80, rows: 5 })
  new Screen(many).draw('1\n2\n3\n4\n5\n6\n')
  t.match(many.out, '3\u001b[K\nand 3 more lines: make the terminal larger\u001b[K\n\u001b[J')
  t.notMatch(many.out, '4')
  t.end()
})

t.test('a line that wraps takes the room that it takes, colours none', (t) => {
  const io = createRecordingIo({ isTty: true, columns: 10, rows: 5 })
  new Screen(io).draw(`\u001b[32m1234567890\u001b[0m\n12345678901\n3\n`)
  t.match(io.out, '12345678901\u001b[K\n3\u001b[K\n')
  const small = createRecordingIo({ isTty: true, columns: 10, rows: 4 })
  new Screen(small).draw('1234567890\n12345678901\n3\n')
  t.match(small.out, '1234567890\u001b[K\nand 2 more lines')
  t.end()
})

t.test('what is not a terminal gets one picture after the other', (t) => {
  const io = createRecordingIo()
  const screen = new Screen(io)
  screen.draw('1\n')
  screen.draw('2\n')
  t.equal(io.out, '1\n\n2\n\n')
  t.end()
})
