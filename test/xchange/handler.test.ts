import t from 'tap'
import {
  defineHandlers,
  HandlerError,
  handlerEndingOf,
  InDoubtError,
  NotReachedError,
} from '../../lib/xchange/handler.ts'

t.test('the errors that end a handler', async (t) => {
  const cause = new Error('ECONNREFUSED')
  t.equal(handlerEndingOf(new HandlerError('CODE', 'message', { body: 1 })), 'failed')
  t.equal(handlerEndingOf(new NotReachedError('message', { cause })), 'notReached')
  t.equal(handlerEndingOf(new InDoubtError('message')), 'inDoubt')
  t.equal(new NotReachedError('message', { cause }).cause, cause)
  t.match(new HandlerError('CODE', 'message', { body: 1 }), { name: 'HandlerError', code: 'CODE', body: { body: 1 } })
})

t.test('anything else has no ending of its own', async (t) => {
  for (const thrown of [new Error('x'), 'text', null, undefined, 7, {}, Object.assign(new Error('x'), { code: 'Y' })]) {
    t.equal(handlerEndingOf(thrown), undefined)
  }
})

t.test('an error of another copy of the package is known', async (t) => {
  const foreign = Object.assign(new Error('x'), { [Symbol.for('ls-xchange.handler.ending')]: 'failed', code: 'THEIRS' })
  t.notOk(foreign instanceof HandlerError)
  t.equal(handlerEndingOf(foreign), 'failed')
  const newer = Object.assign(new Error('x'), { [Symbol.for('ls-xchange.handler.ending')]: 'something new' })
  t.equal(handlerEndingOf(newer), undefined)
})

t.test('defineHandlers returns the module', async (t) => {
  const module = { methods: { ping: () => 'pong' } }
  t.equal(defineHandlers(module), module)
})
