import { X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { isSpiffeId, parseSubjectAltName, spiffeIdOf } from '../../lib/certs/subject-alt-name.ts'
import { type ForgedName, forgeCertificate } from '../support/forged-certificate.ts'

const LS = 'spiffe://ls-xchange.test/ls'
const BANK = 'spiffe://ls-xchange.test/xchange/044'

async function idOf(...names: ForgedName[]): Promise<string | undefined> {
  const { certificatePem } = await forgeCertificate({ names: names.length === 0 ? [] : [names] })
  return spiffeIdOf(new X509Certificate(certificatePem))
}

t.test('the id is the one URI name, wherever it stands', async (t) => {
  t.equal(await idOf({ type: 'url', value: LS }), LS)
  t.equal(
    await idOf({ type: 'dns', value: 'localhost' }, { type: 'ip', value: '::1' }, { type: 'url', value: BANK }),
    BANK,
  )
  t.equal(
    await idOf({ type: 'url', value: BANK }, { type: 'id', value: '1.2.3.4' }, { type: 'email', value: 'a@b.example' }),
    BANK,
  )
})

t.test('no URI, or more than one, is no id', async (t) => {
  t.equal(await idOf(), undefined)
  t.equal(await idOf({ type: 'dns', value: 'localhost' }), undefined)
  t.equal(await idOf({ type: 'url', value: BANK }, { type: 'url', value: LS }), undefined)
  t.equal(await idOf({ type: 'url', value: LS }, { type: 'url', value: LS }), undefined)
  t.equal(await idOf({ type: 'url', value: LS }, { type: 'url', value: 'https://bank.example/' }), undefined)
})

t.test('a name of another type cannot pose as a URI', async (t) => {
  for (const type of ['dns', 'email', 'upn'] as const) {
    for (const value of [`a, URI:${LS}`, `a", URI:${LS}, DNS:"`, `a\\", URI:${LS}`, `URI:${LS}`, `a\0, URI:${LS}`]) {
      t.equal(await idOf({ type, value }), undefined, `${type} ${JSON.stringify(value)}`)
      t.equal(
        await idOf({ type, value }, { type: 'url', value: BANK }),
        BANK,
        `${type} ${JSON.stringify(value)} beside the true one`,
      )
    }
  }
  t.equal(await idOf({ type: 'dn', value: `CN="a, URI:${LS}"` }), undefined)
})

t.test('a URI that is not exactly an id is none', async (t) => {
  for (const value of [
    ...[`${LS}, DNS:x`, `${LS}\0`, `${LS}\0.evil`, `${LS}"`, `${LS}'`, `${LS}\\`, `${LS}\n`, `${LS}é`, `${LS} `],
    ...[`${LS}?a=b`, `${LS}#a`, `${LS}/`, `${LS}//x`, `${LS}/../x`, `${LS}/.`, `${LS}/%2e%2e`, `${LS}:1`],
    ...['https://ls-xchange.test/ls', 'SPIFFE://ls-xchange.test/ls', 'spiffe://LS-xchange.test/ls', 'spiffe:///ls'],
    ...['spiffe://user@ls-xchange.test/ls', 'spiffe://ls-xchange.test:1/ls', `spiffe://a/${'x'.repeat(2048)}`, ''],
  ]) {
    t.equal(await idOf({ type: 'url', value }), undefined, JSON.stringify(value))
  }
  t.ok(isSpiffeId('spiffe://ls-xchange.test'), 'the id of a trust domain')
})

t.test('the text is taken apart exactly, or not at all', (t) => {
  t.strictSame(parseSubjectAltName('DNS:"a\\u002c URI:b", URI:c, IP Address:0:0:0:0:0:0:0:1'), [
    { type: 'DNS', value: 'a, URI:b', quoted: true },
    { type: 'URI', value: 'c', quoted: false },
    { type: 'IP Address', value: '0:0:0:0:0:0:0:1', quoted: false },
  ])
  // A comma that is not escaped, inside a string: also not split.
  t.strictSame(parseSubjectAltName('DNS:"a, URI:b"'), [{ type: 'DNS', value: 'a, URI:b', quoted: true }])
  for (const text of [
    ...['', ',', ', ', 'URI', 'URI:a,', 'URI:a, ', 'URI:a,URI:b', 'URI:a,  URI:b', ' URI:a', 'uri:a', 'X:a', ':a'],
    ...['URI:"a', 'URI:"a\\"', 'URI:"a"b', 'URI:"a" , DNS:b', 'URI:a"b"', 'URI:"\\x"', 'URI:"a\nb"', 'toString:a'],
    `URI:${'a'.repeat(16 * 1024)}`,
  ]) {
    t.equal(parseSubjectAltName(text), undefined, JSON.stringify(text.slice(0, 40)))
  }
  t.end()
})

t.test('any text gives names or undefined, never an exception, and what it gives is all of the text', (t) => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom('URI:', 'DNS:', '"', '\\', ', ', ',', ':', 'IP Address:', '\\u002c', LS),
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join('')
      const names = parseSubjectAltName(text)
      if (names === undefined) return
      const plain = names.filter((name) => !name.quoted).map(({ type, value }) => `${type}:${value}`)
      if (plain.some((entry) => !text.includes(entry))) throw new Error('a name that is not in the text')
      if (names.every((name) => !name.quoted) && plain.join(', ') !== text) throw new Error('not all of the text')
    }),
    { numRuns: 500 },
  )
  t.pass('held for all')
  t.end()
})
