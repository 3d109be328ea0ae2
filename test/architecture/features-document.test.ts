// biome-ignore-all lint/suspicious/noTemplateCurlyInString: titles as sources have them
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { filesBelow, projectRoot, readProjectFile } from '../support/project.ts'

const DOCUMENT = 'docs/FEATURES.md'
const ID = /\b(?:LS|SEC|MESH|APP|BEY)-[1-9]\d*\b/g
const TEST_FILE = /\btest\/[\w./-]+\.test\.ts\b/g

interface Feature {
  readonly id: string
  readonly isDone: boolean
  readonly testFiles: readonly string[]
}

/** Rows of tables whose first cell is an id; one is done when another cell says just that. */
function featuresOf(markdown: string): readonly Feature[] {
  return markdown.split('\n').flatMap((line) => {
    if (!line.startsWith('|')) return []
    const [first = '', ...cells] = line
      .replace(/^\||\|\s*$/g, '')
      .split(/(?<!\\)\|/)
      .map((cell) => cell.replace(/[`*]/g, '').trim())
    if (!/^(?:LS|SEC|MESH|APP|BEY)-[1-9]\d*$/.test(first)) return []
    const isDone = cells.some((cell) => cell.toLowerCase() === 'done')
    return [{ id: first, isDone, testFiles: cells.flatMap((cell) => cell.match(TEST_FILE) ?? []) }]
  })
}

/** First arguments of `test(…)`. */
function titlesOf(source: string): readonly string[] {
  return [...source.matchAll(/\btest\(\s*(['"`])((?:\\.|(?!\1)[\s\S])*)\1/g)].map((match) => match[2] ?? '')
}

const idsByFile = new Map(
  filesBelow('test', '.test.ts')
    .filter((path) => !path.startsWith('test/architecture/'))
    .map((path) => [path, new Set(titlesOf(readProjectFile(path)).flatMap((title) => title.match(ID) ?? []))]),
)

t.test('rows and titles are read as they are written', async (t) => {
  const markdown = [
    '| id | feature | status | tests |',
    '|---|---|---|---|',
    '| LS-1 | Routes; see LS-2 | done | `test/ls/router.test.ts`, `test/e2e/route.test.ts` |',
    '| **SEC-3** | Signs | planned, not done | |',
    'LS-4 done test/ls/x.test.ts',
  ].join('\n')
  t.strictSame(featuresOf(markdown), [
    { id: 'LS-1', isDone: true, testFiles: ['test/ls/router.test.ts', 'test/e2e/route.test.ts'] },
    { id: 'SEC-3', isDone: false, testFiles: [] },
  ])
  const source = ["t.test('LS-1 it\\'s routed', f)", 't.test(', '  `BEY-2 ${name} LS-10`,', 'latest("APP-1")'].join(
    '\n',
  )
  t.strictSame(titlesOf(source), ["LS-1 it\\'s routed", 'BEY-2 ${name} LS-10'])
})

t.test('each feature that docs/FEATURES.md calls done is proved by tests named after it', async (t) => {
  t.ok(existsSync(join(projectRoot, DOCUMENT)), `${DOCUMENT} is there`)
  const features = featuresOf(readProjectFile(DOCUMENT))
  const ids = features.map((feature) => feature.id)
  t.ok(features.some((feature) => feature.isDone))
  t.strictSame(
    ids.filter((id, index) => ids.indexOf(id) !== index),
    [],
    'no id is listed twice',
  )
  const problems = features.flatMap(({ id, isDone, testFiles }) => {
    const missing = testFiles.filter((path) => !idsByFile.has(path)).map((path) => `${id}: there is no ${path}`)
    const silent = testFiles
      .filter((path) => idsByFile.get(path)?.has(id) === false)
      .map((path) => `${id}: no test of ${path} has it in its title`)
    const unproved = isDone && testFiles.length === 0 ? [`${id}: done, but no test file is named`] : []
    return [...missing, ...silent, ...unproved]
  })
  t.strictSame(problems, [])
})

t.test('each id in the title of a test is a feature of docs/FEATURES.md', async (t) => {
  t.ok(idsByFile.size > 40, 'the tests were found')
  const known = new Set(featuresOf(readProjectFile(DOCUMENT)).map((feature) => feature.id))
  const unknown = [...idsByFile].flatMap(([path, ids]) =>
    [...ids].filter((id) => !known.has(id)).map((id) => `${path}: ${id}`),
  )
  t.strictSame(unknown, [])
})
