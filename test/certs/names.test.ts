import t, { type Test } from 'tap'
import {
  checkBankCode,
  checkDnsName,
  checkIpAddress,
  checkTrustDomain,
  lsSpiffeId,
  xchangeSpiffeId,
} from '../../lib/certs/names.ts'

function refuses(t: Test, check: (value: string) => void, values: readonly string[]): void {
  for (const value of values) t.throws(() => check(value), { code: 'BAD_REQUEST' }, JSON.stringify(value))
}

t.test('ids of the parties', (t) => {
  t.equal(lsSpiffeId('ls-xchange.test'), 'spiffe://ls-xchange.test/ls')
  t.equal(xchangeSpiffeId('ls-xchange.test', '044'), 'spiffe://ls-xchange.test/xchange/044')
  t.throws(() => xchangeSpiffeId('ls-xchange.test', '044/../058'), { code: 'BAD_REQUEST' })
  t.throws(() => lsSpiffeId('td/xchange/044'), { code: 'BAD_REQUEST' })
  t.end()
})

t.test('a bank code never leaves its directory nor takes the place of another', (t) => {
  for (const code of ['044', 'GTB', 'a.b_c-d', '...', 'x'.repeat(32)]) t.doesNotThrow(() => checkBankCode(code), code)
  refuses(t, checkBankCode, [
    ...['', '.', '..', '../044', '044/..', '/etc', '044/058', '044\\058', '044\0', '044\n', ' 044', '０４４', 'é'],
    ...['x'.repeat(33), 'lsd', 'LSD', 'ca.key', 'ca.crt', 'CA.crt', 'README.md', '%2e%2e', '044,URI:x', '044"'],
  ])
  t.end()
})

t.test('trust domains are lower-case names', (t) => {
  for (const name of ['ls-xchange.test', 'a', '10.0.0.1', 'x'.repeat(253)]) t.doesNotThrow(() => checkTrustDomain(name))
  refuses(t, checkTrustDomain, [
    '',
    '.',
    '..',
    'a..b',
    'A.test',
    'a/b',
    'a:1',
    'a@b',
    '-a',
    'a-',
    'x'.repeat(254),
    'a b',
  ])
  t.end()
})

t.test('host names and addresses are plain ones', (t) => {
  for (const name of ['localhost', 'xchange.bank.example', 'A-1.b', 'x'.repeat(63)])
    t.doesNotThrow(() => checkDnsName(name))
  refuses(t, checkDnsName, [
    ...['', '*', '*.bank.example', 'a..b', 'a.', '.a', '-a', 'a-', 'x'.repeat(64), 'a_b', 'a b', 'a,b', 'a/b', 'a:1'],
    ...['127.0.0.1', `${'a.'.repeat(127)}a`, 'a, URI:spiffe://x/ls', 'é.example', 'a\0b'],
  ])
  for (const address of ['127.0.0.1', '::1', '2001:db8::5', '::ffff:10.0.0.1']) {
    t.doesNotThrow(() => checkIpAddress(address), address)
  }
  refuses(t, checkIpAddress, ['', 'localhost', '1.2.3', '1.2.3.4.5', '010.0.0.1', '10.0.0.0/8', 'fe80::1%eth0', '::g'])
  t.end()
})

t.test('a refusal repeats a wrong name without control characters, and not without end', (t) => {
  const error = t.throws(() => checkBankCode(`\u001b[2J${'x'.repeat(1_000)}`), { code: 'BAD_REQUEST' })
  const { message } = error as Error
  t.ok(message.length < 200 && !message.includes('\u001b'), message)
  t.end()
})
