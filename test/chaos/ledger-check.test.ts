import t from 'tap'
import { violatedKeys } from '../../chaos/report.ts'
import { Story } from './story.ts'

const settled = (outcome: string, receipt?: string) => ({ state: 'settled', outcome, receipt }) as const

t.test('BEY-2 histories in which nothing is wrong', async (t) => {
  const good: Record<string, Story> = {
    'answered and executed': new Story().asked(0, 10, 'answered').executed(5),
    refused: new Story().asked(0, 10, 'refused'),
    'not sent, and answered when asked again': new Story()
      .asked(0, 10, 'not-sent')
      .asked(20, 30, 'answered')
      .executed(25),
    'in doubt, then the stored answer': new Story().asked(0, 10, 'in-doubt').executed(5).asked(20, 30, 'answered'),
    'lost, then the stored answer': new Story().asked(0, 10, 'lost').executed(5).asked(20, 30, 'answered'),
    'the app was killed and somebody else asked': new Story()
      .asked(0, 0, 'lost', { endedAtMs: undefined })
      .executed(5)
      .asked(20, 30, 'answered', { app: 'app1' }),
    'answered twice with the same receipt': new Story().asked(0, 10, 'answered').executed(5).asked(20, 30, 'answered'),
    'a repetition that was not carried takes nothing back': new Story()
      .asked(0, 10, 'answered')
      .executed(5)
      .asked(20, 30, 'not-sent'),
    'killed inside, and run again after the inquiry': new Story()
      .asked(0, 10, 'lost')
      .begun(5, { receipt: 'r0' })
      .nodeKilled(6)
      .inquired(20, false)
      .executed(21, { boot: 'b2' })
      .asked(15, 30, 'answered'),
    'killed inside, taken back by the inquiry, and refused for want of time': new Story()
      .asked(0, 10, 'lost')
      .begun(5)
      .nodeKilled(6)
      .inquired(20, false)
      .asked(30, 40, 'refused'),
    'killed inside, taken back by the inquiry, and refused to the first who asked': new Story()
      .asked(0, 40, 'refused')
      .begun(5)
      .nodeKilled(6)
      .inquired(20, false),
    'killed inside, and nobody can tell': new Story({ method: 'post-blind' })
      .asked(0, 10, 'lost')
      .begun(5)
      .nodeKilled(6)
      .asked(20, 30, 'in-doubt'),
    'killed between the effect and its record, and nobody can tell': new Story({ method: 'post-blind' })
      .asked(0, 10, 'lost')
      .executed(5)
      .nodeKilled(7)
      .asked(20, 30, 'in-doubt'),
    'another request under the key was refused': new Story()
      .asked(0, 10, 'answered')
      .executed(5)
      .asked(20, 30, 'refused', { altered: true }),
    'never taken by the client library': new Story().asked(0, 1, 'unsent'),
    'all books agree on an answer': new Story({ durable: true })
      .asked(0, 10, 'answered')
      .executed(5)
      .journal(settled('answered', 'r1'))
      .onceOnly('done', 'r1'),
    'all books agree on a refusal': new Story({ durable: true })
      .asked(0, 10, 'refused')
      .journal(settled('refused'))
      .onceOnly('never'),
    'refused at the door, the journal never had it': new Story({ durable: true })
      .asked(0, 10, 'refused')
      .journal('none')
      .onceOnly('never'),
    'answered from a node whose disk failed, and that was killed before it was well': new Story()
      .asked(0, 10, 'answered')
      .nodeDiskFailed(2, 50)
      .executed(5)
      .nodeKilled(20)
      .onceOnly('begun'),
    'all books agree on a doubt': new Story({ durable: true, method: 'post-blind' })
      .asked(0, 10, 'in-doubt')
      .begun(5)
      .nodeKilled(6)
      .journal({ state: 'in-doubt', outcome: 'in-doubt', receipt: undefined })
      .onceOnly('begun'),
  }
  for (const [name, story] of Object.entries(good)) t.same(story.broken(), [], name)
})

t.test('BEY-2 every kind of violation is found', async (t) => {
  const bad: Record<string, [story: Story, ...broken: string[]]> = {
    'nobody was told': [new Story().asked(0, 10, 'lost'), 'lost: no-outcome'],
    'told in the end, but only that it is lost': [
      new Story().asked(0, 10, 'in-doubt').executed(5).asked(20, 30, 'lost'),
      'lost: no-outcome',
    ],
    'answered and never executed': [new Story().asked(0, 10, 'answered'), 'lost: answered-not-executed'],
    'answered and only begun': [new Story().asked(0, 10, 'answered').begun(5), 'lost: answered-not-executed'],
    'executed twice': [
      new Story().asked(0, 10, 'answered').executed(5).executed(7, { receipt: 'r2' }),
      'duplicated: executed-twice',
      'duplicated: begun-twice',
      'duplicated: begun-after-its-end',
    ],
    'executed again by a later process': [
      new Story().asked(0, 10, 'lost').executed(5).nodeKilled(7).executed(20, { boot: 'b2' }).asked(15, 30, 'answered'),
      'duplicated: executed-twice',
      'duplicated: begun-twice',
      'duplicated: begun-after-its-end',
    ],
    'begun again without an inquiry': [
      new Story().asked(0, 10, 'lost').begun(5).nodeKilled(6).executed(20, { boot: 'b2' }).asked(15, 30, 'answered'),
      'duplicated: begun-twice',
    ],
    'begun again although the inquiry said that it was done': [
      new Story()
        .asked(0, 10, 'lost')
        .executed(5)
        .inquired(20, true)
        .begun(21, { boot: 'b2' })
        .asked(15, 30, 'answered'),
      'duplicated: begun-twice',
      'duplicated: begun-after-its-end',
    ],
    'two different answers': [
      new Story().asked(0, 10, 'answered').executed(5).asked(20, 30, 'answered', { receipt: 'r2' }),
      'duplicated: two-answers',
      'disagreed: answer-of-no-execution',
    ],
    'the answer of another request': [
      new Story().asked(0, 10, 'answered', { echo: 'other' }).executed(5),
      'disagreed: answer-of-another-key',
    ],
    'an answer that the bank never gave': [
      new Story().asked(0, 10, 'answered', { receipt: 'made up' }).executed(5),
      'disagreed: answer-of-no-execution',
    ],
    'told not-sent, and executed': [
      new Story().asked(0, 10, 'not-sent').executed(5),
      'lost: executed-though-denied',
      'lost: executed-though-denied',
    ],
    'told refused, and begun': [
      new Story().asked(0, 10, 'refused').begun(5),
      'lost: executed-though-denied',
      'lost: executed-though-denied',
    ],
    'told not-sent, executed all the same, and asked again': [
      new Story().asked(0, 10, 'not-sent').executed(5).asked(20, 30, 'answered'),
      'lost: executed-though-denied',
    ],
    'told refused, taken back by the inquiry, and begun again': [
      new Story().asked(0, 40, 'refused').begun(5).inquired(20, false).begun(25, { boot: 'b2' }),
      'lost: executed-though-denied',
      'lost: executed-though-denied',
    ],
    'in doubt although the handler can be asked': [
      new Story().asked(0, 10, 'in-doubt').begun(5).nodeKilled(6),
      'lost: unexplained-doubt',
    ],
    'in doubt although no node was killed': [
      new Story({ method: 'post-blind' }).asked(0, 10, 'in-doubt').executed(5),
      'lost: unexplained-doubt',
    ],
    'in doubt although only the other node was killed': [
      new Story({ method: 'post-blind' }).asked(0, 10, 'in-doubt').begun(5).nodeKilled(6, '058'),
      'lost: unexplained-doubt',
    ],
    'in doubt although the node was killed long after': [
      new Story({ method: 'post-blind' })
        .asked(0, 10, 'in-doubt')
        .executed(5)
        .nodeKilled(20_000)
        .asked(30_000, 30_001, 'in-doubt'),
      'lost: unexplained-doubt',
    ],
    'in doubt although the node was killed before': [
      new Story({ method: 'post-blind' }).nodeKilled(1).asked(5, 10, 'in-doubt').begun(7),
      'lost: unexplained-doubt',
    ],
    'executed though nobody asked': [new Story().executed(5), 'duplicated: executed-unasked'],
    'another amount was executed': [
      new Story().asked(0, 10, 'answered').begun(5, { amountMinor: 101 }).ended(6, { amountMinor: 101 }),
      'duplicated: altered-executed',
    ],
    'another request under the key was answered': [
      new Story().asked(0, 10, 'answered').executed(5).asked(20, 30, 'answered', { altered: true }),
      'disagreed: altered-answered',
    ],
    'the journal has lost an answer': [
      new Story({ durable: true }).asked(0, 10, 'answered').executed(5).journal('none'),
      'disagreed: journal',
    ],
    'the journal says otherwise': [
      new Story({ durable: true }).asked(0, 10, 'answered').executed(5).journal(settled('not-sent')),
      'disagreed: journal',
    ],
    'the journal has another answer': [
      new Story({ durable: true }).asked(0, 10, 'answered').executed(5).journal(settled('answered', 'r2')),
      'disagreed: journal',
    ],
    'the journal still waits': [
      new Story({ durable: true })
        .asked(0, 10, 'answered')
        .executed(5)
        .journal({ state: 'open', outcome: undefined, receipt: undefined }),
      'disagreed: journal',
    ],
    'the node has forgotten an answer': [
      new Story().asked(0, 10, 'answered').executed(5).onceOnly('never'),
      'disagreed: once-only',
    ],
    'the node did not keep an answer when its disk was well again': [
      new Story().asked(0, 10, 'answered').nodeDiskFailed(2, 50).executed(5).onceOnly('begun'),
      'disagreed: once-only',
    ],
    'the node did not keep an answer before it was killed': [
      new Story().asked(0, 10, 'answered').executed(5).nodeKilled(20).onceOnly('begun'),
      'disagreed: once-only',
    ],
    'the node keeps another answer': [
      new Story().asked(0, 10, 'answered').executed(5).onceOnly('done', 'r2'),
      'disagreed: once-only',
    ],
    'the node has what was refused': [new Story().asked(0, 10, 'refused').onceOnly('begun'), 'disagreed: once-only'],
  }
  for (const [name, [story, ...broken]] of Object.entries(bad)) t.same(story.broken(), broken, name)
})

t.test('the books of requests that are not durable are not looked for in the journal', async (t) => {
  t.same(new Story().asked(0, 10, 'answered').executed(5).journal('none').broken(), [])
})

t.test('counts are of keys, and an effect counts each time', async (t) => {
  const twice = new Story().asked(0, 10, 'answered').executed(5).executed(7).asked(20, 30, 'answered').check()
  t.match(twice, { accepted: 1, answered: 1, refused: 0, notSent: 0, inDoubt: 0, executed: 2 })
  t.same(violatedKeys(twice), { lost: 0, duplicated: 1, disagreed: 0 })
  t.match(new Story().asked(0, 1, 'unsent').check(), { accepted: 0, answered: 0 })
  t.match(new Story().asked(0, 10, 'lost').check(), { accepted: 1, answered: 0, inDoubt: 0 })
  t.match(new Story({ method: 'post-blind' }).asked(0, 10, 'in-doubt').nodeKilled(5).check(), {
    accepted: 1,
    inDoubt: 1,
  })
})
