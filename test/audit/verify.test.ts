import t from 'tap'
import type { ChainReport, FindingKind } from '../../lib/audit/index.ts'
import { ChainBuilder, rehashed, type TestFile, verified } from '../support/audit-chain.ts'
import { newIdentity } from '../support/kx-parties.ts'

const signer = newIdentity()
const pins = [signer.publicKey]

/** Two files, 3 banks, closed in order: 0 file-began ... */
function sample(options: { chain?: string; signer?: typeof signer; every?: number } = {}): TestFile[] {
  const chain = new ChainBuilder(options.signer ?? signer, options)
  const by = { via: 'ls-admin.sock', provenUids: [1000, 0], claimed: { user: 'ada' } }
  chain.add({ event: 'started', facts: { version: '1' } })
  for (const bankCode of ['044', '058', '011'])
    chain.add({ event: 'refusal', bankCode, facts: { code: 'CERT_DENIED', message: 'another party' } })
  chain.add({ event: 'command', bankCode: '044', by, facts: { op: 'quarantine' } })
  chain.beginFile()
  for (let n = 0; n < 5; n++) chain.add({ event: 'kx-completed', bankCode: '044', facts: { epoch: n } })
  chain.add({ event: 'stopped' })
  chain.checkpoint()
  return chain.files
}

const kindsOf = (report: ChainReport): FindingKind[] => report.findings.map(({ kind }) => kind)
const copy = (files: readonly TestFile[]): TestFile[] => files.map(({ name, lines }) => ({ name, lines: [...lines] }))
const lineOf = (files: readonly TestFile[], file: number, line: number): string => files[file]?.lines[line] ?? ''

t.test('SEC-11 a whole log verifies, and says how far it is signed', async (t) => {
  const report = verified(sample(), pins)
  t.strictSame(report.findings, [])
  t.match(report, { ok: true, party: 'ls', chain: 'c0ffee', files: 2, firstSeq: 0, unsigned: 0, isClosed: true })
  t.equal(report.signedThrough?.seq, (report.lastSeq ?? 0) - 1)
  const rotated = newIdentity()
  t.equal(verified(sample(), [rotated.publicKey, signer.publicKey]).ok, true, 'any of several pins')
})

t.test('SEC-11 every field of every record, changed once, is found where it stands', async (t) => {
  const files = sample()
  let changes = 0
  const accepted: string[] = []
  for (const [fileIndex, file] of files.entries()) {
    for (const [lineIndex, line] of file.lines.entries()) {
      for (const changed of variantsOf(line)) {
        changes++
        const forged = copy(files)
        forged[fileIndex]?.lines.splice(lineIndex, 1, changed)
        const report = verified(forged, pins)
        const isPlaced = report.findings.some((found) => found.file === file.name && found.line === lineIndex + 1)
        if (report.ok || !isPlaced) accepted.push(changed)
      }
    }
  }
  t.ok(changes > 150, `${changes} changes`)
  t.strictSame(accepted, [])
})

t.test('SEC-11 the same changes with every hash after them made right are caught by the signature', async (t) => {
  const files = sample()
  const accepted: string[] = []
  let changes = 0
  for (const [fileIndex, file] of files.entries()) {
    for (const [lineIndex, line] of file.lines.entries()) {
      for (const changed of variantsOf(line)) {
        // What the writer cannot bring into the form of a record is the matter of the test before.
        const before = JSON.parse(line) as { seq: number; event: string; at: string }
        const after = JSON.parse(changed) as typeof before
        if (after.event === before.event && after.seq !== before.seq) continue
        if (Number.isNaN(Date.parse(after.at)) || typeof after.event !== 'string') continue
        const all = files.flatMap(({ lines }) => lines)
        const index = files.slice(0, fileIndex).reduce((sum, { lines }) => sum + lines.length, 0) + lineIndex
        all[index] = changed
        const anew = rehashed(all, index)
        // A change of what the hash decides, hash and prev, is undone by that.
        if (anew.join() === files.flatMap(({ lines }) => lines).join()) continue
        changes++
        const cut = files[0]?.lines.length ?? 0
        const forged = [
          { name: 'audit.000001.ndjson', lines: anew.slice(0, cut) },
          { name: 'audit.000002.ndjson', lines: anew.slice(cut) },
        ]
        const report = verified(forged, pins)
        // The last checkpoint turned into a record of another name: a tail that is not signed, and is told as one.
        const isUnsigned = fileIndex === 1 && lineIndex === file.lines.length - 1 && report.unsigned > 0
        if (report.ok && !isUnsigned) accepted.push(changed)
      }
    }
  }
  t.ok(changes > 60, `${changes} changes`)
  t.strictSame(accepted, [])
})

t.test('SEC-11 lines taken out, swapped, added and cut', async (t) => {
  const files = sample()
  const accepted: string[] = []
  const attempt = (name: string, forge: (files: TestFile[]) => void, expected?: FindingKind) => {
    const forged = copy(files)
    forge(forged)
    const report = verified(forged, pins)
    if (report.ok) accepted.push(name)
    if (expected !== undefined) t.ok(kindsOf(report).includes(expected), `${name}: ${kindsOf(report).join()}`)
  }
  const last = files.length - 1
  for (const [f, { lines }] of files.entries()) {
    for (let n = 0; n < lines.length; n++) {
      const isEnd = f === last && n === lines.length - 1
      // Without its last line the file is one whose tail is not signed yet: see the next test.
      if (!isEnd) attempt(`delete ${f}:${n}`, (all) => all[f]?.lines.splice(n, 1), 'missing')
      if (!isEnd) attempt(`delete ${f}:${n} and the rest of the file`, (all) => f !== last && all[f]?.lines.splice(n))
      attempt(`repeat ${f}:${n}`, (all) => all[f]?.lines.splice(n, 0, lineOf(files, f, n)), 'out-of-order')
      if (n > 0) {
        const swap = (all: TestFile[]) => all[f]?.lines.splice(n - 1, 2, lineOf(files, f, n), lineOf(files, f, n - 1))
        attempt(`swap ${f}:${n - 1} and ${n}`, swap, 'out-of-order')
      }
      for (let m = 0; m < lines.length; m++)
        if (m !== n) attempt(`put ${n} also behind ${m}`, (all) => all[f]?.lines.splice(m + 1, 0, lineOf(files, f, n)))
    }
  }
  // The end of the last file is no proof: those attempts are empty, and stand here so that nobody thinks otherwise.
  t.strictSame(
    accepted.filter((name) => !name.startsWith('delete 1:') || !name.includes('and the rest of the file')),
    [],
  )
  attempt('an empty line', (all) => all[0]?.lines.splice(2, 0, ''), 'not-a-record')
  attempt('a line of an attacker', (all) => all[0]?.lines.splice(2, 0, '{"seq":2}'), 'not-a-record')
})

t.test('SEC-11 an insertion, and a removal, with all that follows hashed anew', async (t) => {
  const files = sample()
  const all = files.flatMap(({ lines }) => lines)
  const cut = files[0]?.lines.length ?? 0
  const asFiles = (lines: string[], shift: number): TestFile[] => [
    { name: 'audit.000001.ndjson', lines: lines.slice(0, cut + shift) },
    { name: 'audit.000002.ndjson', lines: lines.slice(cut + shift) },
  ]
  for (let n = 1; n < cut; n++) {
    const removed = rehashed(all.toSpliced(n, 1), n)
    t.equal(verified(asFiles(removed, -1), pins).ok, false, `without ${n}`)
    const inserted = rehashed(all.toSpliced(n, 0, all[2] ?? ''), n)
    t.equal(verified(asFiles(inserted, 1), pins).ok, false, `one more at ${n}`)
  }
  const withoutCheckpoints = all.filter((line) => !line.includes('"event":"checkpoint"'))
  const report = verified([{ name: 'audit.000001.ndjson', lines: rehashed(withoutCheckpoints, 1) }], pins)
  t.ok(kindsOf(report).includes('not-signed'))
  const firstCheckpoint = all.findIndex((line) => line.includes('"event":"checkpoint"'))
  const suffix = all.filter((line, index) => index <= firstCheckpoint || !line.includes('"event":"checkpoint"'))
  const cutSuffix = rehashed(suffix, firstCheckpoint + 1)
  t.ok(kindsOf(verified([{ name: 'audit.000001.ndjson', lines: cutSuffix }], pins)).includes('checkpoint-missing'))
})

t.test('SEC-11 a tail that was cut off after a checkpoint: what can be told, and what cannot', async (t) => {
  const files = sample()
  const lines = files[1]?.lines ?? []
  for (let kept = 2; kept < lines.length; kept++) {
    const cut = [files[0] as TestFile, { name: 'audit.000002.ndjson', lines: lines.slice(0, kept) }]
    const report = verified(cut, pins)
    t.strictSame(report.findings, [], 'the files alone do not show it')
    t.equal(report.isClosed, false, 'but there is no orderly stop at the end')
    t.equal(report.unsigned, (report.lastSeq ?? 0) - lastCheckpoint(cut))
    const lastSeq = verified(files, pins).lastSeq ?? 0
    t.strictSame(
      kindsOf(verified(cut, pins, { expected: { seq: lastSeq } })),
      ['truncated'],
      'a head that was noted does',
    )
  }
  const torn = verified(files, pins, { torn: lines[1]?.slice(0, 40) ?? '' })
  t.strictSame(kindsOf(torn), ['torn'])
})

t.test('SEC-11 two chains spliced', async (t) => {
  const files = sample()
  const other = sample({ chain: 'decaf' })
  for (let n = 1; n < (files[0]?.lines.length ?? 0); n++) {
    const lines = [...(files[0]?.lines.slice(0, n) ?? []), ...(other[0]?.lines.slice(n) ?? [])]
    t.equal(verified([{ name: 'audit.000001.ndjson', lines }], pins).ok, false, `spliced at ${n}`)
    const anew = rehashed(lines, n)
    t.equal(verified([{ name: 'audit.000001.ndjson', lines: anew }], pins).ok, false, `spliced at ${n}, hashed anew`)
  }
  t.ok(kindsOf(verified([files[0] as TestFile, other[1] as TestFile], pins)).includes('other-chain'))
  t.ok(kindsOf(verified([...files, ...other], pins)).includes('other-chain'), 'one chain after another')
})

t.test('SEC-11 a checkpoint of somebody else, and one whose signature is another, is no checkpoint', async (t) => {
  const stranger = newIdentity()
  t.ok(
    kindsOf(verified(sample({ signer: stranger }), pins)).every(
      (kind) => kind === 'checkpoint-unknown-key' || kind === 'not-signed',
    ),
  )
  const files = sample()
  const index = files[0]?.lines.findIndex((line) => line.includes('"event":"checkpoint"')) ?? 0
  const record = JSON.parse(lineOf(files, 0, index)) as { facts: { jws: string } }
  const [header = '', payload = '', signature = ''] = record.facts.jws.split('.')
  const flipped = Buffer.from(signature, 'base64url')
  let accepted = 0
  for (let bit = 0; bit < flipped.length * 8; bit += 7) {
    const bytes = Buffer.from(flipped)
    bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    if (isAccepted(`${header}.${payload}.${bytes.toString('base64url')}`)) accepted++
  }
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const headerMap = JSON.parse(Buffer.from(header, 'base64url').toString()) as object
  const headers = [
    { ...headerMap, alg: 'none' },
    { ...headerMap, alg: 'HS256' },
    { ...headerMap, typ: 'JWT' },
    { ...headerMap, crit: ['b64'], b64: false },
    { ...headerMap, jwk: { kty: 'OKP' } },
    { alg: 'EdDSA' },
  ]
  for (const forged of headers) {
    if (isAccepted(`${encode(forged)}.${payload}.${signature}`)) accepted++
    if (isAccepted(`${encode(forged)}.${payload}.`)) accepted++
  }
  for (const text of [
    `${header}.${payload}`,
    `${header}.${payload}.${signature}=`,
    `${header}.${payload}.${signature}.`,
    `${header} .${payload}.${signature}`,
    '..',
    '',
  ])
    if (isAccepted(text)) accepted++
  t.equal(accepted, 0)

  function isAccepted(jws: string): boolean {
    const forged = copy(files)
    const changed = { ...record, facts: { ...record.facts, jws } }
    forged[0]?.lines.splice(index, 1, JSON.stringify(changed))
    const first = forged[0] as TestFile
    first.lines = rehashed(first.lines, index)
    const found = verified([first], pins).findings
    return !found.some(({ kind, line }) => kind.startsWith('checkpoint-') && line === index + 1)
  }
})

t.test('SEC-11 a log whose first files were archived begins in the middle, and says so', async (t) => {
  const [, second] = sample()
  const report = verified([second as TestFile], pins)
  t.equal(report.ok, true)
  t.ok((report.firstSeq ?? 0) > 0)
})

function lastCheckpoint(files: readonly TestFile[]): number {
  const seqs = files.flatMap(({ lines }) =>
    lines.flatMap((line) => (line.includes('"event":"checkpoint"') ? [JSON.parse(line).seq as number] : [])),
  )
  return seqs.at(-1) ?? -1
}

/** The line with each of its fields, and of the facts within them, changed once. */
function variantsOf(line: string): string[] {
  const record = JSON.parse(line) as Record<string, unknown>
  const variants: string[] = [line.replace('{', '{ '), `${line} `]
  const change = (holder: Record<string, unknown>, name: string) => {
    const before = holder[name]
    if (typeof before === 'string') {
      for (const value of [`${before.slice(0, -1)}${before.endsWith('A') ? 'B' : 'A'}`, '', undefined])
        emit(holder, name, value)
      if (name === 'at') emit(holder, name, new Date(Date.parse(before) + 1).toISOString())
    } else if (typeof before === 'number')
      for (const value of [before + 1, -1, String(before)]) emit(holder, name, value)
    else if (typeof before === 'object' && before !== null) {
      emit(holder, name, {})
      emit(holder, name, { ...before, more: 1 })
      for (const inner of Object.keys(before)) change(before as Record<string, unknown>, inner)
    }
  }
  const emit = (holder: Record<string, unknown>, name: string, value: unknown) => {
    const before = holder[name]
    holder[name] = value
    const text = JSON.stringify(record)
    if (text !== line) variants.push(text)
    holder[name] = before
  }
  for (const name of Object.keys(record)) change(record, name)
  return variants
}
