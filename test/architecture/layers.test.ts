import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import t from 'tap'
import { projectRoot } from '../support/project.ts'
import { type Import, parseSource, readSources, type SourceFile } from './source.ts'

/** From the lowest up; folders of one row may not import each other. */
const LAYERS: readonly (readonly string[])[] = [
  ['lib/runtime'],
  ['lib/config'],
  ['lib/certs'],
  ['lib/keys'],
  ['lib/store'],
  ['lib/frames'],
  ['lib/audit', 'lib/message'],
  ['lib/kx'],
  ['lib/channel'],
  ['lib/ipc'],
  ['lib/ls', 'lib/xchange'],
  ['lib/cli'],
  ['bin'],
]

/** What banks write their handlers against. */
const HANDLER_TYPES = 'lib/xchange/handler.ts'

/** Files that do no input or output of any kind: what they need to know is handed in. */
const PURE_FOLDERS = ['lib/kx', 'lib/frames']
const PURE_FILES = [
  'state',
  'advanced',
  'machine',
  'machine-kx',
  'machine-echo',
  'machine-control',
  'echo',
  'deadline-wheel',
  'in-flight',
  'backoff',
]
  .map((name) => `lib/channel/${name}.ts`)
  .concat(['events', 'record', 'checkpoint', 'thinning', 'verify'].map((name) => `lib/audit/${name}.ts`))
  .concat(
    [
      'base64url',
      'batch-proof',
      'byte-writer',
      'json-object',
      'merkle',
      'message',
      'message-reader',
      'meta-signature',
      'names',
      'tree-head',
    ].map((name) => `lib/message/jws/${name}.ts`),
  )

/** What pure files may take from outside, as values. Of node:crypto only what gives the same for the same. */
const PURE_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  'lib/runtime/index.ts': ['LsxError', 'toLsxError', 'ed25519KeyProblem', 'isErrorCode', 'ERROR_CODES', 'ERROR_TABLE'],
  'lib/certs/index.ts': ['formatIdentityPin'],
  'node:buffer': ['isUtf8', 'isAscii', 'constants'],
  'node:crypto': [
    'createCipheriv',
    'createDecipheriv',
    'createHash',
    'createHmac',
    'createPrivateKey',
    'createPublicKey',
    'diffieHellman',
    'hash',
    'hkdfSync',
    'KeyObject',
    'sign',
    'timingSafeEqual',
    'verify',
  ],
  msgpackr: ['Packr', 'Unpackr'],
}

const IMPURE =
  /\bDate\.now\b|\bnew Date\(\s*\)|\bMath\.random\b|\bset(?:Timeout|Interval|Immediate)\b|\bqueueMicrotask\b|\bperformance\b|\bprocess\b|\bconsole\b|\bfetch\(|\brandom(?:Bytes|UUID|Int|Fill\w*)\b|\bgenerateKey\w*|\bcrypto\.getRandomValues\b/

const sources = readSources('lib', 'bin', 'handlers')
const library = sources.filter((file) => file.path.startsWith('lib/'))

function folderOf(path: string): string | undefined {
  return LAYERS.flat().find((folder) => path.startsWith(`${folder}/`))
}

function heightOf(path: string): number {
  return LAYERS.findIndex((folders) => folders.some((folder) => path.startsWith(`${folder}/`)))
}

/** One line for each import that `isWrong` finds, to be compared with an empty list. */
function wrongImports(files: readonly SourceFile[], isWrong: (file: SourceFile, used: Import) => boolean): string[] {
  return files.flatMap((file) =>
    file.imports.filter((used) => isWrong(file, used)).map((used) => `${file.path} imports ${used.target}`),
  )
}

t.test('the reader of imports sees every form of them', async (t) => {
  const { imports, code } = parseSource(
    'lib/a/b.ts',
    [
      "import 'reflect-metadata'",
      "import type { A } from '../c/index.ts'",
      "import { type B, type C } from './d.ts'",
      "import { type D, e, f as g } from 'node:crypto'",
      "import h, { i } from 'zod'",
      "import * as j from './j.ts'",
      "export * as k from './k.ts'",
      "export { type L, m } from '../../bin/l.ts'",
      "import {\n  type N,\n  o,\n} from 'lmdb'",
      "const p = await import('./p.ts') // Date.now()",
      "/* Math.random */ const q = 'setTimeout' + /'/ + String(Date.now)",
    ].join('\n'),
  )
  t.strictSame(
    imports.map(({ target, isTypeOnly, values }) => [target, isTypeOnly, ...values]),
    [
      ['lib/c/index.ts', true],
      ['lib/a/d.ts', true],
      ['node:crypto', false, 'e', 'f'],
      ['zod', false, 'default', 'i'],
      ['lib/a/j.ts', false, '*'],
      ['lib/a/k.ts', false, '*'],
      ['bin/l.ts', false, 'm'],
      ['lmdb', false, 'o'],
      ['reflect-metadata', false],
      ['lib/a/p.ts', false, '*'],
    ],
  )
  t.match(code, /Date\.now\)/)
  t.notMatch(code, /Date\.now\(\)|Math\.random|setTimeout/)
})

t.test('every file of lib is in a layer, and every own file that is imported exists', async (t) => {
  t.ok(library.length > 100, 'the sources were found')
  t.strictSame(
    library.filter((file) => folderOf(file.path) === undefined).map((file) => file.path),
    [],
  )
  t.strictSame(
    wrongImports(sources, (_file, used) => used.isOwnFile && !existsSync(join(projectRoot, used.target))),
    [],
  )
})

t.test('imports go downwards only', async (t) => {
  t.strictSame(
    wrongImports([...library, ...sources.filter((file) => file.path.startsWith('bin/'))], (file, used) => {
      if (!used.isOwnFile || folderOf(used.target) === folderOf(file.path)) return false
      return heightOf(used.target) < 0 || heightOf(used.target) >= heightOf(file.path)
    }),
    [],
  )
})

t.test('files of one folder do not import each other in a circle', async (t) => {
  const edges = new Map(
    library.map((file) => [
      file.path,
      file.imports.filter((used) => used.isOwnFile && !used.isTypeOnly).map((used) => used.target),
    ]),
  )
  const done = new Set<string>()
  const circles: string[] = []
  const visit = (path: string, way: readonly string[]): void => {
    if (way.includes(path)) circles.push([...way.slice(way.indexOf(path)), path].join(' -> '))
    if (done.has(path) || way.includes(path)) return
    for (const target of edges.get(path) ?? []) visit(target, [...way, path])
    done.add(path)
  }
  for (const path of edges.keys()) visit(path, [])
  t.strictSame(circles, [])
})

t.test('a folder is entered through its front door', async (t) => {
  const hasFrontDoor = (folder: string) => existsSync(join(projectRoot, folder, 'index.ts'))
  t.strictSame(
    wrongImports(sources, (file, used) => {
      if (!used.isOwnFile || used.target === HANDLER_TYPES) return false
      const folder = dirname(used.target)
      return (
        !`${dirname(file.path)}/`.startsWith(`${folder}/`) && hasFrontDoor(folder) && !used.target.endsWith('/index.ts')
      )
    }),
    [],
  )
})

t.test('lib/ls and lib/xchange are for bin; the command line knows their types, handlers know theirs', async (t) => {
  t.strictSame(
    wrongImports(sources, (file, used) => {
      const folder = folderOf(used.target)
      if (folder !== 'lib/ls' && folder !== 'lib/xchange') return false
      if (folderOf(file.path) === folder || file.path.startsWith('bin/')) return false
      if (file.path.startsWith('lib/cli/')) return !used.isTypeOnly
      return !(file.path.startsWith('handlers/') && used.target === HANDLER_TYPES)
    }),
    [],
  )
})

t.test('handlers need nothing of the product but their types and its errors', async (t) => {
  const handlers = sources.filter((file) => file.path.startsWith('handlers/'))
  t.ok(handlers.length > 0, 'handlers were found')
  t.strictSame(
    wrongImports(
      handlers,
      (_file, used) => used.isOwnFile && used.target !== HANDLER_TYPES && !used.target.startsWith('handlers/'),
    ),
    [],
  )
})

t.test('only lib/store opens LMDB', async (t) => {
  t.strictSame(
    wrongImports(sources, (file, used) => used.target === 'lmdb' && !file.path.startsWith('lib/store/')),
    [],
  )
  t.ok(library.some((file) => file.imports.some((used) => used.target === 'lmdb')))
})

t.test('only bin reads the environment, and hands it to the loader of the configuration', async (t) => {
  const readers = sources.filter((file) => /\bprocess\.env\b|\benv\b.*from\s*''/.test(file.code))
  t.strictSame(
    readers.map((file) => file.path).filter((path) => !path.startsWith('bin/') && !path.startsWith('lib/config/')),
    [],
  )
  t.ok(readers.length > 0)
})

t.test('the pure layers import nothing that could do input or output', async (t) => {
  const isPure = (path: string) =>
    PURE_FOLDERS.some((folder) => path.startsWith(`${folder}/`)) || PURE_FILES.includes(path)
  const pure = library.filter((file) => isPure(file.path))
  for (const path of PURE_FILES)
    t.ok(
      pure.some((file) => file.path === path),
      `${path} was found`,
    )
  t.ok(pure.length > 30)

  t.test('only pure files, and listed values of others', async (t) => {
    const wrong = pure.flatMap((file) =>
      file.imports
        .filter((used) => !used.isTypeOnly && !(used.isOwnFile && isPure(used.target)))
        .flatMap((used) => {
          const allowed = PURE_IMPORTS[used.target] ?? []
          const values = used.values.length === 0 ? ['(its effects)'] : used.values
          return values
            .filter((value) => !allowed.includes(value))
            .map((value) => `${file.path}: ${value} of ${used.target}`)
        }),
    )
    t.strictSame(wrong, [])
  })

  t.test('no clock, timer, randomness, process or console in their text', async (t) => {
    const found = pure.flatMap((file) => {
      const match = IMPURE.exec(file.code)
      return match === null ? [] : [`${file.path}: ${match[0]}`]
    })
    t.strictSame(found, [])
    for (const sin of [
      'Date.now()',
      'new Date()',
      'setTimeout(f, 1)',
      'process.pid',
      'randomBytes(4)',
      'generateKeyPairSync()',
    ])
      t.match(sin, IMPURE)
  })
})

t.test('nobody writes past the logger, and nobody sleeps or asks the time past the clock', async (t) => {
  const found = (pattern: RegExp, allowed: (path: string) => boolean) =>
    library.filter((file) => pattern.test(file.code) && !allowed(file.path)).map((file) => file.path)
  t.strictSame(
    found(/\bconsole\./, () => false),
    [],
  )
  t.strictSame(
    found(/\bset(?:Timeout|Interval)\(/, (path) => path === 'lib/runtime/clock.ts'),
    [],
  )
  t.strictSame(
    found(/\bMath\.random\b/, () => false),
    [],
  )
  // Reading certificates takes the time as an argument whose default it is; everything that runs has a clock.
  t.strictSame(
    found(
      /\bDate\.now\(|\bperformance\.now\(/,
      (path) => path === 'lib/runtime/clock.ts' || path.startsWith('lib/certs/'),
    ),
    [],
  )
})
