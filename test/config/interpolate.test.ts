// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references as configuration files have them
import fc from 'fast-check'
import t from 'tap'
import { parseDocument } from 'yaml'
import { interpolate } from '../../lib/config/interpolate.ts'

function filled(text: string, env: Record<string, string | undefined> = {}): unknown {
  const document = parseDocument(text)
  const missing = interpolate(document, env)
  t.strictSame(missing, [], text)
  return document.toJS()
}

t.test('a value from the environment, or else the default of the file', async (t) => {
  t.strictSame(filled('dir: ${LSX_DIR:-../run}'), { dir: '../run' })
  t.strictSame(filled('dir: ${LSX_DIR:-../run}', { LSX_DIR: '/var/run' }), { dir: '/var/run' })
  t.strictSame(filled('dir: ${LSX_DIR}/store', { LSX_DIR: '/var' }), { dir: '/var/store' })
  t.strictSame(filled('file: ${A:-a}/${B:-b}/tls.key', { B: '058' }), { file: 'a/058/tls.key' })
  t.strictSame(filled('dir: ${LSX_DIR:-}'), { dir: '' })
})

t.test('as in a shell, `:-` also stands in for a variable that is empty', async (t) => {
  t.strictSame(filled('port: ${PORT:-7044}', { PORT: '' }), { port: 7044 })
  t.strictSame(filled('dir: "${DIR}"', { DIR: '' }), { dir: '' })
})

t.test('a plain scalar becomes a number or a boolean, a quoted one stays text', async (t) => {
  t.strictSame(filled('port: ${PORT:-7044}'), { port: 7044 })
  t.strictSame(filled('port: ${PORT:-7044}', { PORT: '8080' }), { port: 8080 })
  t.strictSame(filled('bank: "${BANK:-044}"'), { bank: '044' })
  t.strictSame(filled("bank: '${BANK:-044}'", { BANK: '1e3' }), { bank: '1e3' })
  t.strictSame(filled('on: ${ON:-true}'), { on: true })
})

t.test('a name that is not set is told with its place; one of no variable form is a mistake too', async (t) => {
  const document = parseDocument('a: ${A}\nb: [1, {c: "${B}-${A}"}]\nd: ${D:-d}')
  t.strictSame(interpolate(document, {}), [
    { path: 'a', message: 'the environment has no A, and the file gives no default' },
    { path: 'b.1.c', message: 'the environment has no B, and the file gives no default' },
    { path: 'b.1.c', message: 'the environment has no A, and the file gives no default' },
  ])
  for (const text of ['${lower}', '${A-b}', '${A:b}', '${', '${A', '${A:-${B}}', '${}']) {
    const problems = interpolate(parseDocument(`a: '${text}'`), { A: 'x', B: 'y' })
    t.match(problems, [{ path: 'a', message: /\$\{NAME\}/ }], text)
  }
})

t.test('what looks like a reference in a value of the environment is left as it is', async (t) => {
  t.strictSame(filled('a: ${A}', { A: '${B}', B: 'secret' }), { a: '${B}' })
  t.strictSame(filled('a: ${A}', { A: '$1$& ${', B: '' }), { a: '$1$& ${' })
})

t.test('no value can add keys, lists, comments, tags, anchors or documents', async (t) => {
  const hostile = [
    'x\nadmin: true',
    '{admin: true}',
    '[1, 2]',
    'x # not a comment',
    '# nothing',
    '!!binary aGVsbG8=',
    '!tag x',
    '&anchor x',
    '*alias',
    '--- x',
    'a\n---\nb',
    '"quoted"',
    "'quoted'",
    '| \n  text',
    '<<: {admin: true}',
    'null',
    '~',
    '',
    ' padded ',
    '@x',
    '`x`',
    '%YAML 1.1',
    '? x',
    '- x',
    '\u0000',
  ]
  for (const value of hostile) {
    for (const quote of ['', '"', "'"]) {
      t.strictSame(filled(`a: ${quote}\${A}${quote}\nb: 1`, { A: value }), { a: value, b: 1 }, JSON.stringify(value))
    }
  }
})

t.test('whatever the environment holds, it comes out as it is or as the number that it spells', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (value) => {
      const document = parseDocument('list:\n  - a: ${A}\n    b: "${A}"\n  - 2')
      if (interpolate(document, { A: value }).length > 0) throw new Error('a problem')
      const { list } = document.toJS() as { list: [{ a: unknown; b: unknown }, number] }
      const [{ a, b, ...more }, two, ...others] = list
      if (b !== value || two !== 2 || others.length > 0 || Object.keys(more).length > 0)
        throw new Error('another structure')
      if (a !== value && typeof a !== 'number' && typeof a !== 'boolean') throw new Error(`another value: ${String(a)}`)
    }),
    { numRuns: 500 },
  )
  t.pass('500 runs')
})

t.test('keys are not filled: the environment does not choose which option is set', async (t) => {
  t.strictSame(filled('"${A:-x}": 1', { A: 'y' }), { '${A:-x}': 1 })
})
