import t from 'tap'
import { FrameType, writeHeader } from '../../lib/frames/index.ts'
import { KX_MS, PEER, SwitchHarness } from './switch-harness.ts'

const RULES = [{ kind: 'bad-tag', count: 1, windowMs: 60_000 }]

for (const channelBinding of [true, false]) {
  t.test(
    `SEC-12 a spoilt frame ${channelBinding ? 'counts' : 'does not count'} where channel binding is ${channelBinding}`,
    async (t) => {
      const harness = new SwitchHarness({ config: { kx: { channelBinding }, quarantine: { rules: RULES } } })
      await harness.apply(harness.bank('044'))
      const node = harness.node('044')
      const exporter = channelBinding ? Buffer.alloc(32, 5) : Buffer.alloc(0)
      node.open(harness.clock, undefined, exporter)
      harness.link('044').accept(node.link.lsSocket, Buffer.alloc(32, 5), PEER)
      await harness.clock.advance(KX_MS)
      t.equal(harness.link('044').state.name, 'connected')
      const frame = Buffer.alloc(40)
      writeHeader(frame, { type: FrameType.echo, epoch: 1, sequence: 99 })
      node.link.xchangeSocket.send(frame)
      await harness.clock.advance(KX_MS)
      t.equal(harness.link('044').state.name, channelBinding ? 'quarantined' : 'idle')
      t.match(harness.audit.of('evidence'), [
        { bankCode: '044', facts: { code: 'bad-tag', ...(channelBinding ? {} : { counts: false }) } },
      ])
    },
  )
}
