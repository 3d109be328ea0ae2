import { randomBytes } from 'node:crypto'
import t from 'tap'
import { prologueOf } from '../../lib/kx/prologue.ts'
import { readKxVectors } from '../support/kx-vectors.ts'

t.test('the prologues of the vectors', async (t) => {
  const vectors = readKxVectors()
  t.equal(vectors.length, 6)
  for (const vector of vectors) t.same(prologueOf(vector), vector.prologue, vector.bankCode)
})

t.test('facts out of their bounds are refused', async (t) => {
  const facts = { bankCode: '044', sessionId: randomBytes(16), generation: 1, exporter: randomBytes(32) }
  const refused = { code: 'KX_FAILED' }
  for (const bankCode of ['', '0 44', '044\n', 'ä', '0'.repeat(33)]) {
    t.throws(() => prologueOf({ ...facts, bankCode }), refused, JSON.stringify(bankCode))
  }
  for (const length of [0, 15, 17]) {
    t.throws(() => prologueOf({ ...facts, sessionId: randomBytes(length) }), refused, `session id of ${length}`)
  }
  for (const generation of [-1, 1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => prologueOf({ ...facts, generation }), refused, `generation ${generation}`)
  }
  for (const length of [1, 31, 33]) {
    t.throws(() => prologueOf({ ...facts, exporter: randomBytes(length) }), refused, `exporter of ${length}`)
  }
})
