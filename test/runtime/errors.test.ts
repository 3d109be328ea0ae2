import t from 'tap'
import { ERROR_CODES, ERROR_TABLE, isErrorCode, LsxError, toLsxError } from '../../lib/runtime/index.ts'

t.test('every code says who usually erred, and what it means, in one line of its own', async (t) => {
  t.ok(ERROR_CODES.length >= 28)
  for (const code of ERROR_CODES) {
    const { party, summary } = ERROR_TABLE[code]
    t.match(code, /^[A-Z]+(?:_[A-Z]+)*$/)
    t.ok(['caller', 'peer', 'network', 'self'].includes(party), code)
    t.match(summary, /^[A-Z][^|\n]*\.$/, code)
  }
  t.equal(new Set(ERROR_CODES.map((code) => ERROR_TABLE[code].summary)).size, ERROR_CODES.length)
})

t.test('what is a code and what is not', async (t) => {
  t.ok(isErrorCode('BUSY'))
  for (const value of ['busy', '', 'toString', '__proto__', 'constructor', 7, null, undefined, ['BUSY']]) {
    t.notOk(isErrorCode(value))
  }
})

t.test('an error has its code, who erred, facts and the cause', async (t) => {
  const cause = new Error('below')
  const error = new LsxError('BUSY', 'the queue is full', { cause, facts: { queued: 3 } })
  t.match(error, { name: 'LsxError', message: 'the queue is full', code: 'BUSY', party: 'peer', facts: { queued: 3 } })
  t.equal(error.cause, cause)
  t.ok(error instanceof Error)
  const bare = new LsxError('BUSY', 'x', { party: 'self' })
  t.equal(bare.party, 'self')
  t.strictSame(bare.facts, {})
  t.notOk('cause' in bare)
})

t.test('whatever is thrown becomes one of ours, and ours stays what it is', async (t) => {
  const own = new LsxError('BUSY', 'x')
  t.equal(toLsxError(own), own)
  const foreign = new TypeError('not a function')
  t.match(toLsxError(foreign), { code: 'INTERNAL', party: 'self', message: 'not a function' })
  t.equal(toLsxError(foreign).cause, foreign)
  t.match(toLsxError(foreign, 'FRAME_INVALID'), { code: 'FRAME_INVALID', party: 'peer' })
  for (const [thrown, message] of [
    ['text', 'text'],
    [17, '17'],
    [undefined, 'undefined'],
    [null, /./],
    [Object.create(null), /./],
    [Symbol('s'), 'Symbol(s)'],
  ] as const) {
    t.match(toLsxError(thrown), { code: 'INTERNAL', message })
    t.equal(toLsxError(thrown).cause, thrown === undefined ? undefined : thrown)
  }
})
