import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import type { LsxError } from '../../lib/runtime/index.ts'
import { loadXchangeConfig, type XchangeConfig } from '../../lib/xchange/config.ts'

const MINIMAL = {
  bankCode: '044',
  storeDir: 'store',
  trustDomain: 'ls-xchange.test',
  tls: { keyFile: 'tls.key', certFile: 'tls.crt', caFile: 'ca.crt' },
  identityKeyFile: 'identity.key',
  ls: { identities: ['ls.pub'], allow: ['127.0.0.1'] },
  listen: { port: 7044 },
  handlers: { modules: ['handler.js'] },
}

function load(t: Test, config: Record<string, unknown>): XchangeConfig {
  const file = join(t.testdir({}), 'xchange.yaml')
  writeFileSync(file, JSON.stringify(config))
  return loadXchangeConfig(file, {})
}

function problemsOf(t: Test, config: Record<string, unknown>): string[] {
  try {
    load(t, config)
    return []
  } catch (error) {
    t.match(error, { name: 'LsxError', code: 'BAD_REQUEST', party: 'self' })
    return ((error as LsxError).facts.problems as { path: string }[]).map(({ path }) => path)
  }
}

t.test('the smallest configuration, with its defaults and with paths from the folder of the file', async (t) => {
  const config = load(t, MINIMAL)
  t.match(config, {
    logLevel: 'info',
    dial: 'ls',
    listen: { host: '127.0.0.1', port: 7044, maxConnections: 64 },
    frames: { maxFrameBytes: 65_536 },
    kx: { timeoutMs: 5_000, channelBinding: true },
    reconnect: {
      minDelayMs: 100,
      maxDelayMs: 30_000,
      stableAfterMs: 60_000,
      promptForMs: 15_000,
      dialTimeoutMs: 10_000,
    },
    requests: { window: 1_024, maxConcurrent: 1_024, minBudgetMs: 5, maxUnreadBytes: 16_777_216 },
    handlers: { http: [] },
    drain: { timeoutMs: 10_000 },
  })
  const dir = resolve(config.storeDir, '..')
  t.strictSame(config.handlers.modules, [join(dir, 'handler.js')])
  t.strictSame(config.ls.identities, [join(dir, 'ls.pub')])
  t.ok(Object.isFrozen(config) && Object.isFrozen(config.handlers.modules) && Object.isFrozen(config.ls))
})

t.test('what is missing or unknown is named, all at once', async (t) => {
  t.strictSame(problemsOf(t, {}), ['bankCode', 'storeDir', 'trustDomain', 'tls', 'identityKeyFile', 'ls', 'handlers'])
  t.strictSame(
    problemsOf(t, {
      ...MINIMAL,
      bankCode: '',
      ls: { ...MINIMAL.ls, identities: [], allow: ['all'], pin: 'x' },
      requests: { window: 0, queue: 1 },
      handlers: { modules: ['a'], http: [{ methods: [], url: 'no url', retries: 1 }] },
      bank: '044',
    }),
    [
      'bankCode',
      'ls.identities',
      'ls.allow.0',
      'ls.pin',
      'requests.window',
      'requests.queue',
      'handlers.http.0.methods',
      'handlers.http.0.url',
      'handlers.http.0.retries',
      'bank',
    ],
  )
})

t.test('LS-14 who is dialled listens, who dials knows where', async (t) => {
  t.strictSame(problemsOf(t, { ...MINIMAL, listen: undefined }), ['listen'])
  t.strictSame(problemsOf(t, { ...MINIMAL, dial: 'xchange' }), ['ls.host'])
  t.strictSame(problemsOf(t, { ...MINIMAL, dial: 'xchange', ls: { ...MINIMAL.ls, host: 'ls.example' } }), ['ls.host'])
  const dialling = { ...MINIMAL, dial: 'xchange', ls: { ...MINIMAL.ls, host: 'ls.example', port: 7443 } }
  t.strictSame(problemsOf(t, dialling), [])
  t.strictSame(problemsOf(t, { ...dialling, listen: undefined }), [])
})

t.test('something must answer', async (t) => {
  t.strictSame(problemsOf(t, { ...MINIMAL, handlers: {} }), ['handlers'])
  t.strictSame(problemsOf(t, { ...MINIMAL, handlers: { modules: [] } }), ['handlers'])
  const http = [{ methods: ['balance'], url: 'http://127.0.0.1:8080/{method}' }]
  t.match(load(t, { ...MINIMAL, handlers: { http } }).handlers, {
    modules: [],
    http: [{ ...http[0], maxConnections: 64, connectTimeoutMs: 2_000, maxResponseBytes: 262_144 }],
  })
})

t.test('bounds', async (t) => {
  const wrong: readonly (readonly [string, unknown])[] = [
    ['frames.maxFrameBytes', 1_048_577],
    ['kx.timeoutMs', 0],
    ['requests.window', 65_537],
    ['requests.minBudgetMs', -1],
    ['requests.maxUnreadBytes', 1],
    ['reconnect.maxDelayMs', 0],
    ['onceOnly.keepMs', 0],
    ['drain.timeoutMs', 600_001],
  ]
  for (const [path, value] of wrong) {
    const [section = '', option = ''] = path.split('.')
    t.strictSame(problemsOf(t, { ...MINIMAL, [section]: { [option]: value } }), [path], `${path}: ${value}`)
  }
})
