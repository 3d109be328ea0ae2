import t from 'tap'
import { fields } from '../../lib/config/index.ts'

interface Field {
  safeParse(value: unknown): { success: boolean }
}

function check(what: string, field: Field, good: readonly unknown[], bad: readonly unknown[]): void {
  t.test(what, async (t) => {
    for (const value of good) t.equal(field.safeParse(value).success, true, JSON.stringify(value))
    for (const value of bad) t.equal(field.safeParse(value).success, false, JSON.stringify(value))
  })
}

check(
  'a bank code',
  fields.bankCodeField,
  ['044', 'GTB', 'a.b_c-d', 'x'.repeat(32)],
  ['', 'x'.repeat(33), 'a b', 'a/b', 'é', '044\n', 44, null],
)
check('a port', fields.portField, [0, 1, 65_535], [-1, 65_536, 1.5, '80', null, Number.NaN])
check('a duration', fields.durationMsField(10, 100), [10, 100], [9, 101, 10.5, '10', Number.POSITIVE_INFINITY])
check('a duration without an upper bound of its own', fields.durationMsField(0), [0, 2_592_000_000], [2_592_000_001])
check(
  'a trust domain',
  fields.trustDomainField,
  ['ls-xchange.test', 'a'],
  ['', 'A.test', 'a b', 'a/b', 'spiffe://a', 'a_b'],
)
check('a level of the log', fields.logLevelField, ['fatal', 'info', 'silent'], ['', 'INFO', 'verbose'])
check('the largest frame', fields.maxFrameBytesField, [1_024, 65_536, 1_048_576, undefined], [1_023, 1_048_577, '1024'])
check(
  'LS-9 addresses',
  fields.addressesField,
  [[], ['127.0.0.1'], ['10.0.0.0/8', '0.0.0.0/0'], ['::1', '2001:db8::/32', '::/0', '::ffff:10.0.0.1']],
  ['127.0.0.1', ['localhost'], ['10.0.0.0/33'], ['::1/129'], ['10.0.0.0/'], ['10.0.0.0/-1'], ['10.1'], [''], [4]],
)

t.test('paths and pins are resolved against the folder of the file', async (t) => {
  t.equal(fields.pathField('/etc/ls').parse('tls.key'), '/etc/ls/tls.key')
  t.equal(fields.pathField('/etc/ls').parse('../run'), '/etc/run')
  t.equal(fields.pathField('/etc/ls').parse('/run'), '/run')
  t.throws(() => fields.pathField('/etc/ls').parse(''))
  t.equal(fields.identityPinField('/etc/ls').parse('044.pub'), '/etc/ls/044.pub')
  t.equal(fields.identityPinField('/etc/ls').parse('ed25519:AAAA'), 'ed25519:AAAA')
})
