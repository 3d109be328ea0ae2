import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { loadLsConfig } from '../../lib/ls/config.ts'
import type { LsxError } from '../../lib/runtime/index.ts'
import { MINIMAL, testConfig } from './switch-harness.ts'

const PIN = 'ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
const BANK = { code: '044', host: '127.0.0.1', port: 7044, allow: ['127.0.0.1'], identities: [PIN] }

/** The paths of the problems of a configuration, in order. */
function problemsOf(t: Test, config: Record<string, unknown>): string[] {
  const file = join(t.testdir({}), 'ls.yaml')
  writeFileSync(file, JSON.stringify(config))
  try {
    loadLsConfig(file, {})
    return []
  } catch (error) {
    t.match(error, { name: 'LsxError', code: 'BAD_REQUEST', party: 'self' })
    return ((error as LsxError).facts.problems as { path: string }[]).map(({ path }) => path)
  }
}

const withBank = (fields: Record<string, unknown>) => ({ ...MINIMAL, banks: [{ ...BANK, ...fields }] })

t.test('the smallest configuration: every option has the default that is documented', async (t) => {
  const config = testConfig()
  t.match(config, {
    logLevel: 'info',
    listen: { host: '127.0.0.1', port: 0, allow: [], maxConnections: 4_096 },
    apps: { maxConnections: 256, maxMessageBytes: 2_097_152, maxPending: 65_536 },
    requests: { early: 'queue', maxQueued: 10_000, maxQueuedBytes: 67_108_864 },
    frames: { maxFrameBytes: 65_536 },
    kx: { timeoutMs: 5_000, retryMs: 30_000, channelBinding: true },
    rekey: { afterMs: 3_600_000, afterFrames: 1_048_576, afterBytes: 1_073_741_824 },
    echo: { intervalMs: 10_000 },
    health: { intervalMs: 60_000 },
    reconnect: {
      minDelayMs: 100,
      maxDelayMs: 30_000,
      stableAfterMs: 60_000,
      promptForMs: 15_000,
      dialTimeoutMs: 10_000,
      maxConcurrentDials: 64,
    },
    start: { readyWithinMs: 10_000 },
    drain: { timeoutMs: 10_000 },
    uptimeLog: { maxFileBytes: 10_485_760, keepFiles: 14 },
    banks: [],
  })
  t.equal(config.echo.timeoutMs, undefined)
})

t.test('paths belong to the folder of the file, pins in the file stay what they are', async (t) => {
  const dir = t.testdir({})
  const file = join(dir, 'ls.yaml')
  writeFileSync(file, JSON.stringify(withBank({ identities: [PIN, 'keys/044.pub', '/etc/044.pub'] })))
  const config = loadLsConfig(file, {})
  t.equal(config.runtimeDir, resolve(dir, 'run'))
  t.equal(config.tls.keyFile, resolve(dir, 'tls.key'))
  t.strictSame(config.banks[0]?.identities, [PIN, resolve(dir, 'keys/044.pub'), '/etc/044.pub'])
})

t.test('what is missing is named, all at once', async (t) => {
  t.strictSame(problemsOf(t, {}), [
    'runtimeDir',
    'storeDir',
    'trustDomain',
    'tls',
    'identityKeyFile',
    'listen',
    'banks',
  ])
})

t.test('mistakes are named by their paths, all at once, in banks too', async (t) => {
  t.strictSame(
    problemsOf(t, {
      ...MINIMAL,
      logLevel: 'loud',
      listen: { port: 65_536, hosts: [] },
      tls: { ...MINIMAL.tls, passphrase: 'x' },
      echo: { intervalMs: '10s' },
      banks: [BANK, { ...BANK, code: 'no bank!' }, { ...BANK, code: '058', identity: 'x', identities: [] }],
      bankz: [],
    }),
    [
      'logLevel',
      'tls.passphrase',
      'listen.port',
      'listen.hosts',
      'echo.intervalMs',
      'banks.1.code',
      'banks.2.identities',
      'banks.2.identity',
      'bankz',
    ],
  )
})

t.test('a bank that LS dials needs host and port, one that dials does not', async (t) => {
  t.strictSame(problemsOf(t, withBank({})), [])
  t.strictSame(problemsOf(t, withBank({ host: undefined })), ['banks.0.host'])
  t.strictSame(problemsOf(t, withBank({ port: undefined })), ['banks.0.host'])
  t.strictSame(problemsOf(t, withBank({ dial: 'xchange', host: undefined, port: undefined })), [])
  t.strictSame(problemsOf(t, withBank({ dial: 'both' })), ['banks.0.dial'])
})

t.test('a bank is listed once', async (t) => {
  t.strictSame(problemsOf(t, { ...MINIMAL, banks: [BANK, { ...BANK, code: '058' }, BANK] }), ['banks.2.code'])
})

t.test('LS-9 an allow-list holds addresses and ranges; each that is none is named by its path', async (t) => {
  const good = ['127.0.0.1', '10.0.0.0/8', '::1', '2001:db8::/32', '::ffff:10.0.0.1', '0.0.0.0/0', '::/0']
  t.strictSame(problemsOf(t, withBank({ allow: good })), [])
  const bad = [
    '',
    'localhost',
    '10.0.0.256',
    '10.0.0.0/33',
    '::1/129',
    '10.1',
    '0x7f000001',
    '10.0.0.0/',
    '1.2.3.4/8/8',
  ]
  t.strictSame(
    problemsOf(t, withBank({ allow: bad })),
    bad.map((_, index) => `banks.0.allow.${index}`),
  )
  t.strictSame(problemsOf(t, { ...MINIMAL, listen: { port: 0, allow: ['127.0.0.1', 'all'] } }), ['listen.allow.1'])
})

t.test('the reply to an echo is not waited for longer than until the next echo', async (t) => {
  t.strictSame(problemsOf(t, { ...MINIMAL, echo: { intervalMs: 1_000, timeoutMs: 1_000 } }), [])
  t.strictSame(problemsOf(t, { ...MINIMAL, echo: { intervalMs: 1_000, timeoutMs: 1_001 } }), ['echo.timeoutMs'])
  t.strictSame(
    problemsOf(t, { ...MINIMAL, echo: { timeoutMs: 10_001 } }),
    ['echo.timeoutMs'],
    'the default interval too',
  )
})

t.test('bounds: what would leave the switch unsafe or deaf cannot be configured', async (t) => {
  const wrong: readonly (readonly [string, unknown])[] = [
    ['frames.maxFrameBytes', 1_023],
    ['frames.maxFrameBytes', 1_048_577],
    ['rekey.afterMs', 7_200_000],
    ['rekey.afterFrames', 2 ** 24],
    ['kx.timeoutMs', 0],
    ['kx.timeoutMs', 60_001],
    ['echo.intervalMs', 0],
    ['echo.intervalMs', 2 ** 31],
    ['reconnect.maxConcurrentDials', 0],
    ['requests.maxQueued', -1],
    ['requests.early', 'maybe'],
    ['apps.maxConnections', 0],
    ['drain.timeoutMs', 600_001],
    ['uptimeLog.keepFiles', 0],
    ['kx.channelBinding', 'no'],
  ]
  for (const [path, value] of wrong) {
    const [section = '', option = ''] = path.split('.')
    t.strictSame(problemsOf(t, { ...MINIMAL, [section]: { [option]: value } }), [path], `${path}: ${value}`)
  }
  t.strictSame(problemsOf(t, { ...MINIMAL, trustDomain: 'Example.COM' }), ['trustDomain'])
})
