import t from 'tap'
import { EVIDENCE_KINDS, QuarantineRules } from '../../lib/ls/quarantine-rules.ts'

const at = (atMs: number) => ({ atMs, facts: { atMs } })

t.test('SEC-12 so many events of a kind within the window fill a rule, and the events are told', async (t) => {
  const rule = { kind: 'bad-tag', count: 3, windowMs: 1_000 } as const
  const rules = new QuarantineRules([rule])
  t.equal(rules.note('044', 'bad-tag', at(0), 0), undefined)
  t.equal(rules.note('044', 'bad-tag', at(500), 500), undefined)
  t.equal(rules.note('044', 'bad-tag', at(1_100), 1_100), undefined, 'the first is out of the window')
  t.strictSame(rules.note('044', 'bad-tag', at(1_400), 1_400), { rule, evidence: [at(500), at(1_100), at(1_400)] })
  t.equal(rules.note('044', 'bad-tag', at(1_401), 1_401), undefined, 'it begins anew')
})

t.test('SEC-12 banks and kinds are counted apart, and kinds without a rule not at all', async (t) => {
  const rules = new QuarantineRules([
    { kind: 'bad-tag', count: 2, windowMs: 1_000 },
    { kind: 'bad-signature', count: 2, windowMs: 1_000 },
  ])
  t.equal(rules.note('044', 'bad-tag', at(0), 0), undefined)
  t.equal(rules.note('058', 'bad-tag', at(0), 0), undefined)
  t.equal(rules.note('044', 'bad-signature', at(0), 0), undefined)
  for (let n = 0; n < 100; n++) t.equal(rules.note('044', 'session-mixup', at(n), n), undefined)
  rules.forget('044')
  t.equal(rules.note('044', 'bad-tag', at(1), 1), undefined, 'a bank that was let back begins anew')
  t.ok(rules.note('058', 'bad-tag', at(1), 1))
})

t.test('SEC-12 two rules of one kind: a burst, and a slow drip', async (t) => {
  const rules = new QuarantineRules([
    { kind: 'bad-tag', count: 3, windowMs: 1_000 },
    { kind: 'bad-tag', count: 6, windowMs: 100_000 },
  ])
  const filled: number[] = []
  for (let n = 0; n < 12; n++) {
    const tripped = rules.note('044', 'bad-tag', at(n * 10_000), n * 10_000)
    if (tripped !== undefined) filled.push(n, tripped.rule.count)
  }
  t.strictSame(filled, [5, 6, 11, 6])
})

t.test('SEC-12 memory is bounded by what the rules ask for, and what is told by less', async (t) => {
  const rules = new QuarantineRules(EVIDENCE_KINDS.map((kind) => ({ kind, count: 1_000, windowMs: 86_400_000 })))
  let tripped = 0
  for (let n = 0; n < 5_000; n++) {
    const told = rules.note('044', 'bad-signature', at(n), n)
    if (told !== undefined) {
      tripped++
      t.equal(told.evidence.length, 20)
    }
  }
  t.equal(tripped, 5)
})
