// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references as configuration files have them
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { configFileProblem, fields, loadConfig } from '../../lib/config/index.ts'
import type { LsxError } from '../../lib/runtime/index.ts'

const schema = (baseDir: string) =>
  z.strictObject({
    name: z.string().default('unnamed'),
    port: fields.portField,
    dir: fields.pathField(baseDir).optional(),
    pins: z.array(fields.identityPinField(baseDir)).default([]),
    limits: fields.section({ count: fields.countField(1, 10).default(3) }),
    banks: z.array(z.strictObject({ code: fields.bankCodeField, level: fields.logLevelField.optional() })).default([]),
  })

function load(t: Test, text: string, env: Record<string, string | undefined> = {}) {
  const file = join(t.testdir({ 'test.yaml': text }), 'test.yaml')
  return loadConfig(file, schema, env)
}

function failure(t: Test, text: string, env: Record<string, string | undefined> = {}): LsxError {
  try {
    load(t, text, env)
  } catch (error) {
    t.match(error, { name: 'LsxError', code: 'BAD_REQUEST', party: 'self' })
    return error as LsxError
  }
  throw new Error(`a valid configuration: ${text}`)
}

const problemsOf = (error: LsxError) => error.facts.problems as { path: string; message: string }[]
const pathsOf = (error: LsxError) => problemsOf(error).map(({ path }) => path)

t.test('defaults, a section that is left out, and paths from the folder of the file', async (t) => {
  const dir = t.testdir({ 'test.yaml': 'port: 1\ndir: ../run\npins: [a.pub, "ed25519:AAAA", /b.pub]' })
  t.strictSame(loadConfig(join(dir, 'test.yaml'), schema, {}), {
    name: 'unnamed',
    port: 1,
    dir: join(dir, '..', 'run'),
    pins: [join(dir, 'a.pub'), 'ed25519:AAAA', '/b.pub'],
    limits: { count: 3 },
    banks: [],
  })
})

t.test('every problem at once, each with its path; a person reads them as lines', async (t) => {
  const error = failure(
    t,
    'prot: 1\nlimits: {count: 11, counts: 1}\nbanks: [{code: "a b"}, {code: "1", level: loud, x: 1}]',
  )
  t.strictSame(pathsOf(error), [
    'port',
    'limits.count',
    'limits.counts',
    'banks.0.code',
    'banks.1.level',
    'banks.1.x',
    'prot',
  ])
  t.match(problemsOf(error).at(-1), { message: 'unknown option' })
  t.match(error.message, /test\.yaml is not a valid configuration:\n {2}port: .*\n {2}limits\.count: /)
})

t.test('variables that are not set are told together with all else that is wrong', async (t) => {
  const error = failure(t, 'name: ${NAME}\nport: ${PORT}\nbanks: [{code: "${CODE}"}]\nprot: 1', { NAME: 'n' })
  t.strictSame(pathsOf(error), ['port', 'banks.0.code', 'prot'])
  t.match(problemsOf(error)[0], { message: 'the environment has no PORT, and the file gives no default' })
  t.match(problemsOf(error)[1], { message: 'the environment has no CODE, and the file gives no default' })
})

t.test('a value of the environment is never repeated in a message: it may be a secret', async (t) => {
  const error = failure(t, 'port: ${PORT}\nname: [1, "${NAME}"]\nbanks: [{code: "${CODE}"}]', {
    PORT: 's3cret-one',
    NAME: 's3cret-two',
    CODE: 's3cret three',
  })
  t.strictSame(pathsOf(error), ['name', 'port', 'banks.0.code'])
  t.notMatch(`${error.message}${JSON.stringify(error.facts)}`, /s3cret/)
})

t.test('what is no YAML, or too much of it, is a problem of the file', async (t) => {
  t.match(failure(t, 'port: [1').message, /not a valid configuration/)
  t.match(failure(t, 'port: 1\nport: 2').message, /unique/i)
  t.match(failure(t, 'port: 1\n---\nport: 2').message, /not a valid configuration/)
  t.strictSame(pathsOf(failure(t, '')), [''])
  t.strictSame(pathsOf(failure(t, '- 1')), [''])
  t.strictSame(pathsOf(failure(t, 'just text')), [''])
  const bomb = `a: &a [1,1,1,1,1,1,1,1,1,1]\n${'bcdefg'
    .split('')
    .map((name, index) => `${name}: &${name} [${`*${'abcdef'[index]},`.repeat(10)}]`)
    .join('\n')}`
  t.match(failure(t, bomb).message, /alias/i)
  t.match(failure(t, `# ${'x'.repeat(5_000_000)}`).message, /larger than 4194304 bytes/)
})

t.test('a file that cannot be read is named, with the reason', async (t) => {
  const dir = t.testdir({})
  t.throws(() => loadConfig(join(dir, 'absent.yaml'), schema, {}), {
    code: 'BAD_REQUEST',
    party: 'self',
    message: /absent\.yaml: ENOENT/,
  })
  mkdirSync(join(dir, 'folder.yaml'))
  t.throws(() => loadConfig(join(dir, 'folder.yaml'), schema, {}), { code: 'BAD_REQUEST', message: /EISDIR/ })
})

t.test('what is loaded cannot be changed, at no depth', async (t) => {
  const config = load(t, 'port: 1\nbanks: [{code: "044"}]')
  const write = (change: () => void) => t.throws(change, TypeError)
  write(() => Object.assign(config, { port: 2 }))
  write(() => Object.assign(config.limits, { count: 2 }))
  write(() => config.banks.push({ code: '058' }))
  write(() => Object.assign(config.banks[0] ?? {}, { code: '058' }))
  write(() => Object.assign(config, { more: 1 }))
  t.strictSame(load(t, 'port: 1').banks, [], 'defaults are not shared by what was frozen')
})

t.test('names of objects are unknown options like any other, and change nothing', async (t) => {
  for (const name of ['__proto__', 'constructor', 'toString']) {
    t.strictSame(pathsOf(failure(t, `port: 1\n${name}: {polluted: true}`)), [name])
    t.strictSame(pathsOf(failure(t, `port: 1\nlimits: {${name}: {polluted: true}}`)), [`limits.${name}`])
  }
  t.notOk('polluted' in {})
})

t.test('paths belong to the place that was named, also where that is a link', async (t) => {
  const dir = t.testdir({ real: { 'test.yaml': 'port: 1\ndir: store' }, links: {} })
  symlinkSync(join(dir, 'real', 'test.yaml'), join(dir, 'links', 'test.yaml'))
  t.equal(loadConfig(join(dir, 'links', 'test.yaml'), schema, {}).dir, join(dir, 'links', 'store'))
  writeFileSync(join(dir, 'real', 'test.yaml'), '\ufeffport: 2')
  t.equal(loadConfig(join(dir, 'real', 'test.yaml'), schema, {}).port, 2, 'a byte order mark is no matter')
})

t.test('SEC-1 a configuration that others than its owner can write is refused, except for debugging', async (t) => {
  const dir = t.testdir({ 'test.yaml': 'port: 1' })
  const file = join(dir, 'test.yaml')
  for (const mode of [0o664, 0o646, 0o666, 0o620]) {
    chmodSync(file, mode)
    t.throws(
      () => loadConfig(file, schema, {}),
      { code: 'REFUSED', party: 'self', message: /run: chmod go-w/ },
      mode.toString(8),
    )
  }
  for (const mode of [0o644, 0o600, 0o755]) {
    chmodSync(file, mode)
    t.equal(loadConfig(file, schema, {}).port, 1, mode.toString(8))
  }
  chmodSync(file, 0o666)
  const permissive = () =>
    z.strictObject({ port: z.int() }).transform((config) => ({ ...config, security: { mode: 'permissive' } }))
  t.match(loadConfig(file, permissive, {}), { port: 1 })
  t.match(configFileProblem(file), /can be changed by anybody \(mode 666\)/)
})
