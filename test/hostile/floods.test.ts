import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { withstand } from '../support/attack.ts'
import { testBed } from '../support/daemons.ts'
import { DIALLED_FAKE, DIALLING_FAKE, fakeBanks } from '../support/fake-banks.ts'
import { TurnedAway } from '../support/fake-peers.ts'

t.test('a bank that opens socket after socket is held back, and lets the others be', async (t) => {
  const stage = await fakeBanks(t)
  const { ls } = stage
  await withstand(t, stage, '058', async () => {
    const mark = ls.log.mark
    const refused: TurnedAway[] = []
    let opened = 0
    while (refused.length < 10 && opened < 1_000) {
      try {
        const socket = await stage.openAsBank(DIALLING_FAKE)
        opened++
        await socket.terminate()
      } catch (error) {
        if (!(error instanceof TurnedAway)) throw error
        refused.push(error)
      }
    }
    t.ok(opened < 300, `${opened} sockets were opened before the first was refused`)
    t.ok(
      refused.every(({ status }) => status === 429),
      'the bank is told to come later',
    )
    const line = await ls.log.until({ code: 'RATE_LIMITED', audit: true }, { mark })
    t.match(line, { spiffeId: /xchange\/077/, msg: /bank 077 opens sockets without end/ })
    t.equal((await ls.bankStatus(DIALLING_FAKE)).state, 'idle')
  })
  const late = await untilOpen(() => stage.openAsBank(DIALLING_FAKE))
  await stage.asBank(DIALLING_FAKE, late).key()
  t.pass('a little later it is welcome again')
})

/** Tries again until it is let in; a test's time-out bounds it. */
async function untilOpen<T>(open: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if (!(error instanceof TurnedAway) || error.status !== 429) throw error
    }
  }
}

t.test("one bank's violations do not hide another's from the audit", async (t) => {
  const stage = await fakeBanks(t)
  const { ls } = stage
  await withstand(t, stage, '058', async () => {
    const mark = ls.log.mark
    for (let index = 0; index < 20; index++) {
      const fake = await stage.keyedAsBank(DIALLING_FAKE)
      fake.socket.send(Buffer.alloc(20))
      await fake.socket.closed
    }
    const other = await stage.keyedAsBank(DIALLED_FAKE)
    other.socket.send(Buffer.alloc(20))
    await ls.log.until({ bankCode: DIALLED_FAKE, audit: true, code: 'FRAME_INVALID' }, { mark })
    t.pass(`${DIALLED_FAKE} is in the audit`)
    await stage.keyedAsBank(DIALLED_FAKE)
  })
})

t.test('more connections than a listener takes are turned away, and the log says so', async (t) => {
  const bed = await testBed(t)
  const defenders = await bed.startAll({ banks: { '044': { config: { listen: { maxConnections: 5 } } } } })
  const xchange = defenders.xchanges.get('044')
  if (xchange === undefined) throw new Error('044 was not started')
  await withstand(t, defenders, '058', async () => {
    const mark = xchange.log.mark
    const sockets = Array.from({ length: 10 }, () =>
      connect(xchange.port, '127.0.0.1')
        .on('error', () => {})
        .resume(),
    )
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    const line = await xchange.log.until({ code: 'BUSY', audit: true }, { mark })
    t.match(line.msg, /5 connections are open; more need a higher listen.maxConnections/)
    t.match(
      await defenders.ls.ask({ to: '044', method: 'echo', payload: 1 }),
      { outcome: 'answered' },
      'the channel that is there goes on',
    )
    const gone = sockets.map((socket) => (socket.closed ? undefined : once(socket, 'close')))
    for (const socket of sockets) socket.destroy()
    await Promise.all(gone)
  })
})
