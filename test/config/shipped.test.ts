import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadLsConfig } from '../../lib/ls/index.ts'
import { loadXchangeConfig } from '../../lib/xchange/index.ts'
import { projectRoot, readProjectFile } from '../support/project.ts'

const LS_FILE = join(projectRoot, 'config/ls.yaml')
const XCHANGE_FILE = join(projectRoot, 'config/xchange.yaml')

/** Every option of a configuration with its dotted path; elements of lists are one option. */
function optionsOf(value: unknown, path: readonly string[] = []): [string, unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [[path.join('.'), value]]
  return Object.entries(value).flatMap(([name, inner]) => optionsOf(inner, [...path, name]))
}

/** What a configuration of the least possible text has in all its other options. */
function load<T>(t: Test, name: string, minimal: Record<string, unknown>, loader: (file: string) => T): T {
  return loader(join(t.testdir({ [name]: JSON.stringify(minimal) }), name))
}

t.test('the configuration of lsd that is shipped is valid as it stands', async (t) => {
  const config = loadLsConfig(LS_FILE, {})
  t.equal(config.runtimeDir, join(projectRoot, 'run'))
  t.equal(config.storeDir, join(projectRoot, 'run/ls-store'))
  t.equal(config.tls.keyFile, join(projectRoot, 'certs/lsd/tls.key'))
  t.strictSame(
    config.banks.map(({ code, dial, port }) => ({ code, dial, port })),
    [
      { code: '044', dial: 'ls', port: 7044 },
      { code: '058', dial: 'xchange', port: undefined },
    ],
  )
})

t.test('LS-14 LS-18 both nodes of the demo run from the one file that is shipped', async (t) => {
  const first = loadXchangeConfig(XCHANGE_FILE, {})
  t.match(first, { bankCode: '044', dial: 'ls', listen: { port: 7044 } })
  t.equal(first.tls.certFile, join(projectRoot, 'certs/044/tls.crt'))
  const second = loadXchangeConfig(XCHANGE_FILE, {
    XCHANGE_BANK: '058',
    XCHANGE_PORT: '0',
    XCHANGE_STORE_DIR: '/var/058',
    XCHANGE_DIAL: 'xchange',
    LSX_LS_PORT: '17443',
    LSX_CERTS_DIR: '/etc/ls-certs',
  })
  t.match(second, {
    bankCode: '058',
    dial: 'xchange',
    storeDir: '/var/058',
    listen: { port: 0 },
    ls: { port: 17443, identities: ['/etc/ls-certs/lsd/identity.pub'] },
    tls: { keyFile: '/etc/ls-certs/058/tls.key' },
  })
})

t.test('what lsd and the nodes are told of each other in the shipped files fits', async (t) => {
  const ls = loadLsConfig(LS_FILE, {})
  const node = loadXchangeConfig(XCHANGE_FILE, {})
  t.equal(node.trustDomain, ls.trustDomain)
  t.equal(node.listen?.port, ls.banks[0]?.port)
  t.equal(node.ls.port, ls.listen.port)
  t.equal(node.kx.channelBinding, ls.kx.channelBinding)
  t.equal(node.tls.caFile, ls.tls.caFile)
  t.ok(node.identityKeyFile.replace(/\.key$/, '.pub') === ls.banks[0]?.identities[0])
})

t.test('the shipped files show each option, and where it has a default, that one', async (t) => {
  const minimalLs = {
    runtimeDir: 'run',
    storeDir: 'store',
    trustDomain: 'a',
    tls: { keyFile: 'a', certFile: 'a', caFile: 'a' },
    identityKeyFile: 'a',
    listen: { port: 1 },
    banks: [],
  }
  const minimalXchange = {
    bankCode: '044',
    storeDir: 'store',
    trustDomain: 'a',
    tls: { keyFile: 'a', certFile: 'a', caFile: 'a' },
    identityKeyFile: 'a',
    ls: { identities: ['a'], allow: [] },
    listen: { port: 1 },
    handlers: { modules: ['a'] },
  }
  const files = [
    ['config/ls.yaml', load(t, 'ls.yaml', minimalLs, (file) => loadLsConfig(file, {})), minimalLs],
    ['config/xchange.yaml', load(t, 'x.yaml', minimalXchange, (file) => loadXchangeConfig(file, {})), minimalXchange],
  ] as const
  for (const [path, defaults, minimal] of files) {
    const shipped = path === 'config/ls.yaml' ? loadLsConfig(LS_FILE, {}) : loadXchangeConfig(XCHANGE_FILE, {})
    const shippedOptions = new Map(optionsOf(shipped))
    const given = new Set(optionsOf(minimal).map(([option]) => option))
    const text = readProjectFile(path)
    for (const [option, value] of optionsOf(defaults)) {
      const name = option.split('.').at(-1) ?? ''
      t.match(text, new RegExp(`^\\s*(?:- )?(?:# )?${name}:`, 'm'), `${path} shows ${option}`)
      // An allow-list that is empty permits nobody; the example has the demo's.
      if (!given.has(option) && name !== 'allow') t.strictSame(shippedOptions.get(option), value, `${path}: ${option}`)
    }
  }
})

t.test('an option that is only mentioned in a comment of the shipped files is a real one', async (t) => {
  const lsText = readProjectFile('config/ls.yaml').replace(/^(\s*)# (timeoutMs|dir|early): /gm, '$1$2: ')
  const dir = t.testdir({ 'ls.yaml': lsText })
  const ls = loadLsConfig(join(dir, 'ls.yaml'), {})
  t.match(ls, { echo: { timeoutMs: 5_000 }, banks: [{ early: 'reject' }, {}] })
  t.match(ls.uptimeLog.dir, /run$/)
  const xchangeText = readProjectFile('config/xchange.yaml')
    .replace('  http: []\n', '  http:\n')
    .replace(/^ {2}# ((?:- | {2})[a-zA-Z]+: )/gm, '  $1')
  const xchangeDir = t.testdir({ 'xchange.yaml': xchangeText })
  t.match(loadXchangeConfig(join(xchangeDir, 'xchange.yaml'), {}).handlers.http, [
    { methods: ['name-enquiry'], url: 'http://127.0.0.1:8080/xchange/{method}', maxConnections: 64 },
  ])
})
