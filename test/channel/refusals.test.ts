import t from 'tap'
import { RefusalLog } from '../../lib/channel/refusals.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { recordingLogger } from '../support/channel-log.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

function newLog() {
  const clock = new VirtualClock()
  const logger = recordingLogger()
  return { clock, logger, refusals: new RefusalLog(logger, clock) }
}

const DENIED = new LsxError('IP_DENIED', 'not on the list', { facts: { asked: '192.0.2.7' } })

t.test('a refusal is one line for the audit, with code, party and facts', async (t) => {
  const { refusals, logger } = newLog()
  refusals.record(DENIED, { address: '192.0.2.7' })
  t.same(logger.lines, [
    {
      level: 'warn',
      facts: { audit: true, code: 'IP_DENIED', party: 'peer', asked: '192.0.2.7', address: '192.0.2.7' },
      message: 'not on the list',
    },
  ])
  t.same(refusals.counts, { IP_DENIED: 1 })
})

t.test(
  'a flood writes ten lines a second for each code, counts all, and then says how many were left out',
  async (t) => {
    const { refusals, logger, clock } = newLog()
    for (let index = 0; index < 1_000; index++) refusals.record(DENIED)
    refusals.record(new LsxError('CERT_DENIED', 'expired'))
    t.equal(logger.lines.length, 11, 'another code has its own ten')
    t.same(refusals.counts, { IP_DENIED: 1_000, CERT_DENIED: 1 })
    await clock.advance(999)
    refusals.record(DENIED)
    t.equal(logger.lines.length, 11)
    await clock.advance(1)
    refusals.record(DENIED)
    t.match(logger.lines.slice(11), [
      { facts: { audit: true, code: 'IP_DENIED', unwritten: 991 } },
      { message: 'not on the list' },
    ])
    await clock.advance(5_000)
    refusals.record(DENIED)
    t.equal(logger.lines.length, 14, 'nothing was left out since')
  },
)

t.test('the lines of a day-long flood are bounded', async (t) => {
  const { refusals, logger, clock } = newLog()
  for (let second = 0; second < 60; second++) {
    for (let index = 0; index < 50; index++) refusals.record(DENIED)
    await clock.advance(1_000)
  }
  t.ok(logger.lines.length <= 60 * 11, `${logger.lines.length} lines`)
  t.same(refusals.counts, { IP_DENIED: 3_000 })
})
