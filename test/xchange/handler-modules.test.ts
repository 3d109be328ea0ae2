import { join } from 'node:path'
import t from 'tap'
import { createLogger, silentLogger } from '../../lib/runtime/index.ts'
import type { HandlerContext, HandlerModule } from '../../lib/xchange/handler.ts'
import { HandlerModules, loadHandlerModules } from '../../lib/xchange/handler-modules.ts'

const NEVER = new AbortController().signal
const NO_CONTEXT = {} as HandlerContext

function load(dir: string, modules: string[], signal = NEVER) {
  const configFile = join(dir, 'config', 'xchange.yaml')
  return loadHandlerModules({ modules, configFile, bankCode: '044', logger: silentLogger }, signal)
}

t.test('modules are found from the configuration file, or by absolute path', async (t) => {
  const dir = t.testdir({
    config: { 'near.mjs': 'export default { methods: { near: (payload) => ({ near: payload }) } }' },
    'far.mjs': 'export default ({ bankCode, log }) => ({ methods: { far: () => bankCode + typeof log.info } })',
    'later.mjs':
      'export default async () => ({ methods: { "later/one": async () => 1 }, expectedMs: { "later/one": 40 } })',
  })
  const handlers = await load(dir, ['near.mjs', '../far.mjs', join(dir, 'later.mjs')])
  t.same([...handlers.routes.keys()], ['near', 'far', 'later/one'])
  t.same(handlers.routes.get('near')?.handler(1, NO_CONTEXT), { near: 1 })
  t.equal(handlers.routes.get('far')?.handler(1, NO_CONTEXT), '044function')
  t.equal(handlers.routes.get('later/one')?.expectedMs, 40)
  t.equal(handlers.routes.get('near')?.expectedMs, undefined)
  t.equal(handlers.routes.get('near')?.inquire, undefined)
})

t.test('a module that is an object of a class keeps its this', async (t) => {
  const dir = t.testdir({
    'bank.mjs': `class Bank {
      name = 'first'
      get methods() { return { who: () => this.name } }
      async inquire(key) { return { done: true, payload: this.name + key } }
    }
    export default () => new Bank()`,
  })
  const route = (await load(dir, [join(dir, 'bank.mjs')])).routes.get('who')
  t.equal(route?.handler(undefined, NO_CONTEXT), 'first')
  t.same(await route?.inquire?.('k'), { done: true, payload: 'firstk' })
})

t.test('what is wrong with a module is said with its name', async (t) => {
  const sources: Record<string, [source: string, complaint: RegExp]> = {
    'syntax.mjs': ['export default {', /cannot be imported/],
    'throws.mjs': ['throw new Error("no core banking")', /cannot be imported: no core banking/],
    'missing-import.mjs': ['import "not-a-package-at-all"', /cannot be imported: .*not-a-package-at-all/],
    'no-default.mjs': ['export const methods = {}', /default export must be a handler module/],
    'list.mjs': ['export default []', /default export must be a handler module/],
    'factory-throws.mjs': ['export default () => { throw new Error("no licence") }', /failed: no licence/],
    'factory-nothing.mjs': ['export default () => {}', /default export must be/],
    'no-methods.mjs': ['export default { handlers: {} }', /"methods" must be an object/],
    'empty.mjs': ['export default { methods: {} }', /at least one handler/],
    'bad-name.mjs': ['export default { methods: { "a b": () => 1 } }', /"a b" is no method name/],
    'long-name.mjs': ['export default { methods: { ["x".repeat(65)]: () => 1 } }', /is no method name/],
    'not-function.mjs': ['export default { methods: { pay: 7 } }', /handler of "pay" is not a function/],
    'bad-inquire.mjs': ['export default { methods: { pay() {} }, inquire: true }', /"inquire" is not a function/],
    'bad-stop.mjs': ['export default { methods: { pay() {} }, stop: {} }', /"stop" is not a function/],
    'bad-expected.mjs': ['export default { methods: { pay() {} }, expectedMs: 5 }', /"expectedMs" must be an object/],
    'odd-expected.mjs': ['export default { methods: { pay() {} }, expectedMs: { pya: 5 } }', /names "pya"/],
    'neg-expected.mjs': ['export default { methods: { pay() {} }, expectedMs: { pay: -5 } }', /number of milliseconds/],
    'module.ts': ['export default {}', /it is TypeScript/],
  }
  const dir = t.testdir(Object.fromEntries(Object.entries(sources).map(([file, [source]]) => [file, source])))
  for (const [file, [, complaint]] of Object.entries(sources)) {
    const expected = { code: 'REFUSED', party: 'self', facts: { file: join(dir, file) }, message: complaint }
    await t.rejects(load(dir, [join(dir, file)]), expected, file)
  }
  await t.rejects(load(dir, ['gone.mjs']), {
    code: 'REFUSED',
    message: /gone\.mjs cannot be used: the file cannot be read/,
  })
  await t.rejects(load(dir, [dir]), { code: 'REFUSED', message: /it is not a file/ })
})

t.test('two modules may not serve one method', async (t) => {
  const dir = t.testdir({
    'a.mjs': 'export default { methods: { pay() {}, look() {} } }',
    'b.mjs': 'export default { methods: { pay() {} } }',
  })
  const both = load(dir, [join(dir, 'a.mjs'), join(dir, 'b.mjs')])
  await t.rejects(both, { code: 'REFUSED', message: /b\.mjs cannot be used: "pay" is served by .*a\.mjs already/ })
})

t.test('a module that does not finish loading is given up', async (t) => {
  const dir = t.testdir({ 'hangs.mjs': 'await new Promise(() => {}); export default {}' })
  const patience = new AbortController()
  const loading = load(dir, [join(dir, 'hangs.mjs')], patience.signal)
  patience.abort(new Error('patience'))
  await t.rejects(loading, { code: 'REFUSED', message: /cannot be imported: patience/ })
})

t.test('start and stop', async (t) => {
  const order: string[] = []
  const moduleNamed = (name: string, overrides: Partial<HandlerModule> = {}) => ({
    file: `${name}.mjs`,
    module: {
      methods: { [name]: () => name },
      start: async ({ bankCode }: { bankCode: string }) => {
        order.push(`start ${name} ${bankCode}`)
      },
      stop: async () => {
        order.push(`stop ${name}`)
      },
      ...overrides,
    },
  })
  const lines: string[] = []
  const logger = createLogger({ name: 'x', level: 'info', destination: { write: (line) => lines.push(line) } })
  const options = { bankCode: '044', logger }

  t.test('in order and in reverse', async (t) => {
    order.length = 0
    const handlers = new HandlerModules([moduleNamed('a'), moduleNamed('b')], options)
    await handlers.start(NEVER)
    await handlers.stop(NEVER)
    await handlers.stop(NEVER)
    t.same(order, ['start a 044', 'start b 044', 'stop b', 'stop a'])
  })

  t.test('a failed start stops those that were started', async (t) => {
    order.length = 0
    const failing = moduleNamed('b', { start: () => Promise.reject(new Error('no database')) })
    const handlers = new HandlerModules([moduleNamed('a'), failing], options)
    await t.rejects(handlers.start(NEVER), {
      code: 'REFUSED',
      message: /b\.mjs cannot be used: its start failed: no database/,
    })
    t.same(order, ['start a 044', 'stop a'])
  })

  t.test('a start that hangs ends with the signal', async (t) => {
    const handlers = new HandlerModules([moduleNamed('a', { start: () => new Promise(() => {}) })], options)
    await t.rejects(handlers.start(AbortSignal.abort(new Error('too long'))), { message: /too long/ })
    const patience = new AbortController()
    const starting = handlers.start(patience.signal)
    patience.abort(new Error('too long'))
    await t.rejects(starting, { message: /its start failed: too long/ })
  })

  t.test('a stop that fails is logged and keeps no other from stopping', async (t) => {
    order.length = 0
    const failing = moduleNamed('b', { stop: () => Promise.reject(new Error('still busy')) })
    const handlers = new HandlerModules(
      [moduleNamed('a'), failing, { file: 'c', module: { methods: { c() {} } } }],
      options,
    )
    await handlers.start(NEVER)
    await handlers.stop(NEVER)
    t.same(order.at(-1), 'stop a')
    t.match(lines.join(''), /still busy/)
  })
})

t.test('a module names the methods that may run twice, and only those that it has', async (t) => {
  const dir = t.testdir({
    'bank.mjs': 'export default { methods: { balance: () => 1, transfer: () => 2 }, repeatable: ["balance"] }',
    'typo.mjs': 'export default { methods: { balance: () => 1 }, repeatable: ["balence"] }',
    'text.mjs': 'export default { methods: { balance: () => 1 }, repeatable: "balance" }',
  })
  const { routes } = await load(dir, [join(dir, 'bank.mjs')])
  t.same([routes.get('balance')?.repeatable, routes.get('transfer')?.repeatable], [true, false])
  for (const file of ['typo.mjs', 'text.mjs'])
    await t.rejects(load(dir, [join(dir, file)]), { code: 'REFUSED', message: /"repeatable"/ })
})
