import t from 'tap'
import {
  type EvidenceFile,
  evidenceFile,
  parseEvidenceFile,
  verifyEvidence,
} from '../../../lib/message/evidence/index.ts'
import { provenExchanges } from '../../support/proven-exchange.ts'
import { keysOf, newKey, verificationKey } from '../../support/signing-keys.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const clock = new VirtualClock()
const ls = newKey('ls')
const bank = newKey('044')
const keys = keysOf(verificationKey(ls), verificationKey(bank))
const KEYS = ['k-1', 'k-2', 'k-3', 'k-4', 'k-5']

type Path = readonly (string | number)[]

function exported(mode: 'batch' | 'each', key = 'k-2'): EvidenceFile {
  const records = provenExchanges({ mode, ls, bank, keys, requestKeys: KEYS, clock })
  const ofKey = records.filter((record) => record.key === key)
  // As it is read from a file.
  return parseEvidenceFile(JSON.stringify(evidenceFile(key, ofKey, { keys, nowMs: clock.nowMs() })))
}

/** The file with one value, by its path, replaced or taken away. */
function changed(file: EvidenceFile, path: Path, value: unknown): EvidenceFile {
  const copy = JSON.parse(JSON.stringify(file)) as EvidenceFile
  const target = valueAt(copy, path.slice(0, -1)) as Record<string | number, unknown>
  const last = path.at(-1) ?? ''
  if (value === undefined) delete target[last]
  else target[last] = value
  return copy
}

function valueAt(file: unknown, path: Path): unknown {
  return path.reduce<unknown>((value, name) => (value as Record<string | number, unknown>)[name], file)
}

/** The path of each value that is no object. */
function pathsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path]
  const entries: [string | number, unknown][] = Array.isArray(value)
    ? value.map((item, index) => [index, item])
    : Object.entries(value)
  return entries.flatMap(([name, item]) => pathsOf(item, [...path, name]))
}

for (const mode of ['batch', 'each'] as const) {
  t.test(`SEC-5 it says who signed what, when, in which session, mode ${mode}`, async (t) => {
    const report = verifyEvidence(exported(mode), keys)
    t.equal(report.isProven, true)
    const common = {
      bankCode: '044',
      sessionId: '03'.repeat(16),
      method: 'transfer',
      signedAt: new Date(clock.nowMs()).toISOString(),
      problem: undefined,
    }
    const payload = Buffer.from('81a16e01', 'hex')
    t.match(report.exchanges, [
      {
        request: { ...common, direction: 'request', party: 'ls', keyId: ls.keyId, payload },
        response: { ...common, direction: 'response', party: '044', keyId: bank.keyId, status: 0 },
        problem: undefined,
      },
    ])
  })

  t.test(`SEC-5 whatever of the messages is changed in the file, it is not proven, mode ${mode}`, async (t) => {
    const file = exported(mode)
    let accepted = 0
    let tried = 0
    for (const path of pathsOf(file)) {
      // The exporter's own words, and keys that nobody trusts because they are here.
      if (['exportedAt', 'keys'].includes(String(path[0])) || path[2] === 'keptAt') continue
      const value = valueAt(file, path)
      const text = String(value)
      const other = typeof value === 'number' ? value + 1 : `${text.startsWith('A') ? 'B' : 'A'}${text.slice(1)}`
      for (const change of [other, undefined, typeof value === 'string' ? `${value}AAAA` : '0']) {
        tried++
        try {
          const anew = parseEvidenceFile(JSON.stringify(changed(file, path, change)))
          if (verifyEvidence(anew, keys).isProven) {
            accepted++
            t.fail(`accepted: ${path.join('.')}`)
          }
        } catch (error) {
          t.match(error, { code: 'BAD_REQUEST' })
        }
      }
    }
    t.equal(accepted, 0, `${tried} changes`)
  })
}

t.test('SEC-5 every byte of message and proof counts', async (t) => {
  const file = exported('batch')
  let accepted = 0
  for (const who of ['request', 'response']) {
    for (const path of [
      ['exchanges', 0, who, 'message'],
      ['exchanges', 0, who, 'signature', 'proof'],
    ]) {
      const bytes = Buffer.from(String(valueAt(file, path)), 'base64')
      for (let index = 0; index < bytes.length; index++) {
        const flipped = Buffer.from(bytes)
        flipped[index] = (flipped[index] ?? 0) ^ 1
        if (verifyEvidence(changed(file, path, flipped.toString('base64')), keys).isProven) accepted++
      }
    }
  }
  t.equal(accepted, 0)
})

t.test('SEC-5 parts of different exchanges do not make one', async (t) => {
  const [first, second] = [exported('batch', 'k-1'), exported('batch', 'k-2')]
  const swapped = changed(first, ['exchanges', 0, 'response'], second.exchanges[0]?.response)
  t.match(verifyEvidence(swapped, keys), { isProven: false })
  const elsewhere = provenExchanges({ ls, bank, keys, requestKeys: ['k-1'], clock, sessionId: Buffer.alloc(16, 9) })
  const other = parseEvidenceFile(JSON.stringify(evidenceFile('k-1', elsewhere, { keys, nowMs: 0 })))
  const mixed = changed(first, ['exchanges', 0, 'response'], other.exchanges[0]?.response)
  t.match(verifyEvidence(mixed, keys), {
    isProven: false,
    exchanges: [{ problem: 'the response answers another request' }],
  })
  const alone = changed(first, ['exchanges', 0, 'request'], undefined)
  t.match(verifyEvidence(alone, keys), {
    isProven: false,
    exchanges: [{ problem: 'the request that the response names is missing' }],
  })
  const turned = changed(first, ['exchanges', 0, 'request'], first.exchanges[0]?.response)
  t.match(verifyEvidence(turned, keys), { isProven: false, exchanges: [{ request: { problem: 'it is no request' } }] })
})

t.test('SEC-5 after a rotation: the key of that time, in its time, from the directory only', async (t) => {
  const file = exported('batch')
  const atMs = clock.nowMs()
  const next = verificationKey(newKey('044'))
  const replaced = verificationKey(bank, { notAfterMs: atMs + 1_000 })
  t.equal(verifyEvidence(file, keysOf(verificationKey(ls), replaced, next)).isProven, true)
  const over = verificationKey(bank, { notAfterMs: atMs - 1_000 })
  t.match(verifyEvidence(file, keysOf(verificationKey(ls), over, next)), {
    isProven: false,
    exchanges: [{ request: { problem: undefined }, response: { problem: /not valid at that time/ } }],
  })
  t.match(verifyEvidence(file, keysOf(verificationKey(ls), next)), {
    isProven: false,
    exchanges: [{ response: { problem: /not among the keys that are trusted/ } }],
  })
  t.ok(
    file.keys.some(({ party, jwk }) => party === '044' && jwk.kid === bank.keyId),
    'though the file brings that key along',
  )
  const forged = { ...verificationKey(newKey('044')), keyId: bank.keyId }
  t.match(verifyEvidence(file, keysOf(verificationKey(ls), forged)), { isProven: false })
})

t.test('SEC-5 what is no evidence file is told apart from evidence that is not good', async (t) => {
  const file = exported('batch')
  for (const text of [
    '',
    'null',
    '[]',
    '{}',
    JSON.stringify({ ...file, format: 'ls-xchange-evidence-2' }),
    JSON.stringify({ ...file, exchanges: [] }),
    JSON.stringify({ ...file, more: 1 }),
    JSON.stringify(changed(file, ['exchanges', 0, 'response', 'message'], 'not base64!')),
  ])
    t.throws(() => parseEvidenceFile(text), { code: 'BAD_REQUEST' }, text.slice(0, 40))
})

t.test('SEC-5 a file that says a thing twice is not read: its reader might believe the other one', async (t) => {
  const text = JSON.stringify(exported('batch'))
  const doubled = text.replace('"facts":{', '"facts":{"payload":"bm90aGluZyBvZiB0aGUga2luZA==","status":1,')
  t.throws(() => parseEvidenceFile(doubled), { code: 'BAD_REQUEST', message: /twice/ })
  const outer = text.replace('"key":"k-2"', '"key":"k-1","key":"k-2"')
  t.throws(() => parseEvidenceFile(outer), { code: 'BAD_REQUEST', message: /twice/ })
  t.throws(() => parseEvidenceFile('['), { code: 'BAD_REQUEST' })
})
