import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { createConnection, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { withstand } from '../support/attack.ts'
import { type TestLs, testBed } from '../support/daemons.ts'
import { releaseHeld, untilHeld } from '../support/test-exchange.ts'

/** Sends bytes, and collects the answer until lsd ends the connection. */
async function exchange(path: string, ...chunks: (Buffer | string)[]): Promise<string> {
  const socket = createConnection({ path, allowHalfOpen: true })
  const received: Buffer[] = []
  socket.on('data', (chunk: Buffer) => received.push(chunk)).on('error', () => {})
  await once(socket, 'connect')
  for (const chunk of chunks) socket.write(chunk)
  socket.end()
  await once(socket, 'close')
  return Buffer.concat(received).toString('latin1')
}

function block(body: Buffer, length = body.length): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(length)
  return Buffer.concat([head, body])
}

t.test('garbage on the unix sockets', async (t) => {
  const bed = await testBed(t)
  const defenders = await bed.startAll({ ls: { config: { apps: { maxMessageBytes: 65_536 } } } })
  const { ls } = defenders

  t.test('SEC-10 the sockets are open to the owner and group, and to the owner', async (t) => {
    t.equal(statSync(ls.appSocket).mode & 0o777, 0o660)
    t.equal(statSync(ls.adminSocket).mode & 0o777, 0o600)
  })

  const attacks: Record<string, { send: (Buffer | string)[]; answer: RegExp }> = {
    'random bytes': { send: [Buffer.concat([Buffer.from([0]), randomBytes(500)])], answer: /BAD_REQUEST|TOO_LARGE|^$/ },
    'an HTTP request': { send: ['GET / HTTP/1.1\r\n\r\n'], answer: /BAD_REQUEST.*one JSON object a line/ },
    'a block over the limit': { send: [block(Buffer.alloc(10), 65_537)], answer: /TOO_LARGE/ },
    'a block of 4 GiB': { send: [block(Buffer.alloc(10), 0x03ffffff)], answer: /TOO_LARGE/ },
    'a block that is no map': { send: [block(Buffer.from([0x93, 1, 2, 3]))], answer: /BAD_REQUEST/ },
    'a block with an extension': { send: [block(Buffer.from('81a26f70d40072', 'hex'))], answer: /BAD_REQUEST/ },
    'a block nested too deeply': {
      send: [block(Buffer.concat([Buffer.from('81a26f70', 'hex'), Buffer.alloc(60, 0x91), Buffer.from([0xc0])]))],
      answer: /BAD_REQUEST/,
    },
    'a line over the limit': { send: [`{"op":"${'x'.repeat(70_000)}`], answer: /TOO_LARGE/ },
    'a line that is no JSON': { send: ['{"op": request}\n'], answer: /BAD_REQUEST.*not JSON/ },
    'a line that is not UTF-8': { send: [Buffer.from('{"op":"\xff\xfe"}\n', 'latin1')], answer: /BAD_REQUEST.*UTF-8/ },
    'a request without an id': { send: ['{"op":"request","to":"044"}\n'], answer: /BAD_REQUEST.*id/ },
    'a request to no bank': {
      send: ['{"op":"request","id":1,"to":"../044","method":"echo"}\n'],
      answer: /refused.*(BAD_REQUEST|UNKNOWN_BANK)/,
    },
    'a request with a broken method': {
      send: ['{"op":"request","id":1,"to":"044","method":"a b"}\n'],
      answer: /refused.*BAD_REQUEST.*method/,
    },
    'a request with a prototype': {
      send: ['{"op":"request","id":1,"to":"044","method":"echo","payload":{"__proto__":{"x":1}}}\n'],
      answer: /"outcome":"(refused|answered)"/,
    },
    "an operator's command": {
      send: ['{"op":"drop","id":1,"bank":"044"}\n'],
      answer: /BAD_REQUEST.*operators have their own socket/,
    },
    'half a message and the end': { send: ['{"op":"request","id":1'], answer: /BAD_REQUEST|^$/ },
  }
  for (const [title, { send, answer }] of Object.entries(attacks)) {
    t.test(title, async (t) => {
      await withstand(t, defenders, '044', async () => {
        t.match(await exchange(ls.appSocket, ...send), answer)
      })
    })
  }

  t.test("garbage on the operators' socket", async (t) => {
    await withstand(t, defenders, '044', async () => {
      t.match(await exchange(ls.adminSocket, '{"op":"rm","id":1}\n'), /"ok":false.*BAD_REQUEST.*operators can ask for/)
      t.match(await exchange(ls.adminSocket, '{"op":"constructor","id":1}\n'), /"ok":false.*BAD_REQUEST/)
      t.match(
        await exchange(ls.adminSocket, '{"op":"status","id":1,"bank":["044"]}\n'),
        /"ok":false.*BAD_REQUEST.*bank/,
      )
      t.match(await exchange(ls.adminSocket, '{"op":"drop","id":1,"bank":"999"}\n'), /"ok":false.*UNKNOWN_BANK/)
      t.match(await exchange(ls.adminSocket, '{"op":"uptime","id":1,"limit":1e9}\n'), /"ok":false.*BAD_REQUEST.*limit/)
      t.match(await exchange(ls.adminSocket, randomBytes(2_000).fill(0xff, 0, 4)), /BAD_REQUEST|TOO_LARGE|^$/)
    })
  })

  t.test('a crowd of connections that say nothing', async (t) => {
    await withstand(t, defenders, '044', async () => {
      const sockets: Socket[] = []
      for (let index = 0; index < 200; index++) {
        const socket = createConnection({ path: ls.appSocket }).on('error', () => {})
        await once(socket, 'connect')
        sockets.push(socket)
      }
      for (const socket of sockets) socket.destroy()
      await Promise.all(sockets.map((socket) => (socket.closed ? undefined : once(socket, 'close'))))
    })
  })
})

t.test('BEY-2 an app that leaves with requests in flight harms nobody', async (t) => {
  const bed = await testBed(t)
  const defenders = await bed.startAll()
  const { ls } = defenders

  async function leaveWithRequests(t: Test, names: readonly string[], leave: (socket: Socket) => void): Promise<void> {
    const socket = createConnection({ path: ls.appSocket }).on('error', () => {})
    await once(socket, 'connect')
    for (const [id, name] of names.entries()) {
      socket.write(
        `${JSON.stringify({ op: 'request', id, to: '044', method: 'hold', payload: { name }, key: name, timeoutMs: 5_000 })}\n`,
      )
    }
    await Promise.all(names.map(untilHeld))
    t.equal((await ls.bankStatus('044')).inFlight, names.length)
    leave(socket)
    await once(socket, 'close')
    for (const name of names) releaseHeld(name)
    await untilNothingInFlight(ls)
  }

  t.test('killed', async (t) => {
    await withstand(t, defenders, '058', async () => {
      const before = (await ls.bankStatus('044')).outcomes
      await leaveWithRequests(t, ['gone-1', 'gone-2', 'gone-3'], (socket) => socket.destroy())
      const { outcomes } = await ls.bankStatus('044')
      t.equal(outcomes.answered, (before.answered ?? 0) + 3, 'each request has its outcome all the same')
      t.match(
        await ls.ask({ to: '044', method: 'hold', payload: { name: 'gone-2' }, key: 'gone-2' }),
        { outcome: 'answered', payload: { name: 'gone-2' } },
        'whoever asks again with the same key gets the answer, and nothing is executed twice',
      )
    })
  })
  t.test('while the requests wait for the channel', async (t) => {
    await withstand(t, defenders, '058', async () => {
      const mark = ls.log.mark
      await ls.admin('quarantine', { bank: '044', reason: 'a test' })
      await ls.admin('resume', { bank: '044' })
      const socket = createConnection({ path: ls.appSocket }).on('error', () => {})
      await once(socket, 'connect')
      for (let id = 0; id < 100; id++)
        socket.write(`{"op":"request","id":${id},"to":"044","method":"echo","timeoutMs":5000}\n`)
      socket.destroy()
      await once(socket, 'close')
      await ls.connected('044', mark)
      await untilNothingInFlight(ls)
    })
  })
})

/** Each look is a round trip to lsd. */
async function untilNothingInFlight(ls: TestLs): Promise<void> {
  const untilMs = performance.now() + 10_000
  for (;;) {
    const { inFlight, queued } = await ls.bankStatus('044')
    if (inFlight + queued === 0) return
    if (performance.now() > untilMs) throw new Error(`${inFlight} requests are in flight, ${queued} wait`)
  }
}
