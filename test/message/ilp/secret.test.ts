import { createHmac, randomBytes } from 'node:crypto'
import t from 'tap'
import { IlpSecret } from '../../../lib/message/ilp/index.ts'

t.test('SEC-6 the HMAC of a secret is that of node:crypto, for secrets shorter and longer than a block', async (t) => {
  for (const bytes of [16, 32, 47, 48, 49, 64, 200, 1_024]) {
    const secret = randomBytes(bytes)
    const key = secret.toString('base64')
    for (const text of ['', 'a', 'x'.repeat(63), 'x'.repeat(1_000)])
      t.same(new IlpSecret(secret).hmac(text), createHmac('sha256', key).update(text).digest(), `${bytes} bytes`)
  }
})

t.test('a secret shows itself nowhere', async (t) => {
  const secret = new IlpSecret(Buffer.from('a secret of the bank'))
  t.equal(JSON.stringify({ secret }), '{"secret":"[secret]"}')
})
