import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ERROR_CODES, ERROR_TABLE } from '../../lib/runtime/index.ts'
import { filesBelow, projectRoot, readProjectFile } from '../support/project.ts'

const DOCUMENT = 'docs/ERRORS.md'

interface Row {
  readonly code: string
  readonly party: string
  readonly summary: string
  readonly whatToDo: string
}

/** The rows `| CODE | party | summary | what to do |`; the code may stand in backticks. */
function rowsOf(markdown: string): readonly Row[] {
  return markdown.split('\n').flatMap((line) => {
    if (!line.startsWith('|')) return []
    const [code = '', party = '', summary = '', whatToDo = ''] = line
      .replace(/^\||\|\s*$/g, '')
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim())
    const bare = code.replaceAll('`', '')
    return /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*$/.test(bare) ? [{ code: bare, party, summary, whatToDo }] : []
  })
}

t.test('rows are read as they are written', async (t) => {
  const markdown = [
    '# Errors',
    'Text | with | bars | in it',
    '| code | party | summary | what to do |',
    '|---|---|---|---|',
    '| `BUSY` | peer | A queue is full. | Wait \\| retry. |',
    '| TOO_LARGE | caller | Too much. |  |',
  ].join('\n')
  t.strictSame(rowsOf(markdown), [
    { code: 'BUSY', party: 'peer', summary: 'A queue is full.', whatToDo: 'Wait \\| retry.' },
    { code: 'TOO_LARGE', party: 'caller', summary: 'Too much.', whatToDo: '' },
  ])
})

t.test('docs/ERRORS.md has a row for each code, in the order of the table', async (t) => {
  t.ok(existsSync(join(projectRoot, DOCUMENT)), `${DOCUMENT} is there`)
  const rows = rowsOf(readProjectFile(DOCUMENT))
  t.strictSame(
    rows.map((row) => row.code),
    ERROR_CODES,
  )
  t.strictSame(
    rows.map(({ code, party, summary }) => ({ code, party, summary })),
    ERROR_CODES.map((code) => ({ code, ...ERROR_TABLE[code] })),
  )
  t.strictSame(
    rows.filter((row) => row.whatToDo === '').map((row) => row.code),
    [],
    'each row says what to do',
  )
})

t.test('no code in the sources is missing from the table', async (t) => {
  const used = new Set(
    ['lib', 'bin', 'handlers']
      .flatMap((folder) => filesBelow(folder, '.ts'))
      .flatMap((path) => [...readProjectFile(path).matchAll(/new LsxError\(\s*'([^']+)'/g)].map((match) => match[1])),
  )
  t.ok(used.size > 10)
  t.strictSame(
    [...used].filter((code) => code === undefined || !Object.hasOwn(ERROR_TABLE, code)),
    [],
  )
})
