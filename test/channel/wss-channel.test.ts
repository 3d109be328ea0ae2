import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { lsSpiffeId, xchangeSpiffeId } from '../../lib/certs/index.ts'
import { newChannelCounters } from '../../lib/channel/counters.ts'
import { newBootId, newSessionId, newX25519KeyPair } from '../../lib/channel/entropy.ts'
import { ChannelRequest } from '../../lib/channel/in-flight.ts'
import { LsChannel } from '../../lib/channel/ls-channel.ts'
import type { ChannelObserver } from '../../lib/channel/secured-channel.ts'
import type { ChannelSocket } from '../../lib/channel/socket.ts'
import { XchangeChannel } from '../../lib/channel/xchange-channel.ts'
import type { Session } from '../../lib/kx/index.ts'
import { type LsxError, silentLogger, systemClock } from '../../lib/runtime/index.ts'
import { answerOk, RecordingOwner } from '../support/channel-pair.ts'
import { dial, dialTarget, startListener } from '../support/channel-sockets.ts'
import { kxParties } from '../support/kx-parties.ts'
import { createTestPki } from '../support/pki.ts'

const pki = await createTestPki(t.testdir())
const lsNode = await pki.issue('lsd')
const bankNode = await pki.issue('xchange', '044')

interface End {
  readonly socket: ChannelSocket
  readonly exporter: Buffer
}

type Dialler = 'LS' | 'the xchange'

/** An open socket with its two ends, dialled by either. */
async function connect(t: Test, dialler: Dialler): Promise<{ ls: End; xchange: End }> {
  const lsDials = dialler === 'LS'
  const server = await startListener(t, { material: lsDials ? bankNode.material : lsNode.material })
  const dialled = await dial(
    t,
    dialTarget({
      port: server.port,
      material: lsDials ? lsNode.material : bankNode.material,
      expectedSpiffeId: lsDials ? xchangeSpiffeId(pki.trustDomain, '044') : lsSpiffeId(pki.trustDomain),
    }),
  )
  const accepted = await server.accepted()
  return lsDials ? { ls: dialled, xchange: accepted } : { ls: accepted, xchange: dialled }
}

/** What an observer hears, as promises. */
class Ears {
  readonly keyed: Promise<Session>
  readonly closed: Promise<{ cause: string; error: LsxError | undefined }>
  /** Of a kx after the first. */
  onRekeyed: (session: Session) => void = () => {}
  readonly observer: ChannelObserver

  constructor() {
    let keyed: (session: Session) => void = () => {}
    let closed: (end: { cause: string; error: LsxError | undefined }) => void = () => {}
    this.keyed = new Promise((resolve) => {
      keyed = resolve
    })
    this.closed = new Promise((resolve) => {
      closed = resolve
    })
    this.observer = {
      onKxCompleted: (session) => (session.epoch === 1 ? keyed(session) : this.onRekeyed(session)),
      onKxFailed: () => {},
      onPeerDraining: () => {},
      onClosed: (cause, error) => closed({ cause, error }),
      acceptGeneration: () => {},
    }
  }

  rekeyed(epoch: number): Promise<Session> {
    return new Promise((resolve) => {
      this.onRekeyed = (session) => {
        if (session.epoch === epoch) resolve(session)
      }
    })
  }
}

/** Both channels over real sockets, on real time, not opened yet. */
function channelsOver({ ls, xchange }: { ls: End; xchange: End }) {
  const parties = kxParties()
  const times = { kxTimeoutMs: 5_000, kxRetryMs: 30_000 }
  const common = { clock: systemClock, logger: silentLogger, maxFrameBytes: 65_536, defer: setImmediate }
  const owner = new RecordingOwner()
  const ears = { ls: new Ears(), xchange: new Ears() }
  const lsChannel = new LsChannel<ChannelRequest>({
    ...common,
    config: {
      role: 'ls',
      bankCode: '044',
      times,
      newKx: (epoch) => ({
        ...parties.ls,
        exporter: ls.exporter,
        newEphemeral: newX25519KeyPair,
        sessionId: newSessionId(),
        epoch,
      }),
    },
    socket: ls.socket,
    owner,
    observer: ears.ls.observer,
    counters: newChannelCounters(),
  })
  const offer = { ...parties.xchange.offer, bootId: newBootId() }
  const xchangeChannel = new XchangeChannel({
    ...common,
    config: {
      role: 'xchange',
      bankCode: '044',
      times,
      newKx: (epoch) => {
        return { ...parties.xchange, exporter: xchange.exporter, newKeyPair: newX25519KeyPair, offer, epoch }
      },
    },
    socket: xchange.socket,
    onRequest: answerOk,
    onResolve: (keys) => ({ states: keys.map(() => 'never'), rememberedForMs: 1 }),
    observer: ears.xchange.observer,
    counters: newChannelCounters(),
    maxBufferedBytes: 4_194_304,
  })
  return { ls: lsChannel, xchange: xchangeChannel, owner, ears }
}

let requests = 0

function newRequest(payload: Buffer): ChannelRequest {
  const deadlineMs = systemClock.monotonicMs() + 20_000
  return new ChannelRequest({ key: `key-${requests++}`, method: 'balance', payload }, deadlineMs)
}

/** Sends as many requests as asked for, as fast as the channel takes them; resolves when all have ended. */
function sendAll(channels: ReturnType<typeof channelsOver>, count: number, payload: Buffer): Promise<void> {
  const { ls, owner } = channels
  const before = owner.ends.size
  let left = count
  const sendMore = () => {
    while (left > 0 && ls.trySend(newRequest(payload))) left--
  }
  owner.whenWritable = sendMore
  sendMore()
  return new Promise((resolve) => {
    const look = () => (owner.ends.size - before === count ? resolve() : setImmediate(look))
    look()
  })
}

for (const dialler of ['LS', 'the xchange'] as const) {
  t.test(`LS-14 LS-5 where ${dialler} dials, LS begins the kx and requests go from LS to the xchange`, async (t) => {
    const channels = channelsOver(await connect(t, dialler))
    const { ls, xchange, ears, owner } = channels
    xchange.open()
    ls.open()
    const [atLs, atXchange] = await Promise.all([ears.ls.keyed, ears.xchange.keyed])
    t.same(atLs.sessionId, atXchange.sessionId)
    t.same(atLs.handshakeHash, atXchange.handshakeHash)
    t.same(atLs.peerStatic, atXchange.ownStatic)
    const payload = randomBytes(2_000)
    await sendAll(channels, 200, payload)
    t.equal(owner.count('answered'), 200)
    t.ok([...owner.responses.values()].every((response) => response.payload.equals(payload)))
    ls.drain(systemClock.monotonicMs() + 5_000)
    const [lsEnd, xchangeEnd] = await Promise.all([ears.ls.closed, ears.xchange.closed])
    t.same(lsEnd, { cause: 'local', error: undefined })
    t.same(xchangeEnd, { cause: 'peer-close', error: undefined })
  })
}

t.test('LS-19 over a real socket keys are renewed under load and not one request is lost', async (t) => {
  const channels = channelsOver(await connect(t, 'LS'))
  const { ls, xchange, ears, owner } = channels
  xchange.open()
  ls.open()
  await ears.ls.keyed
  const sent = sendAll(channels, 3_000, randomBytes(300))
  for (let epoch = 2; epoch <= 6; epoch++) {
    const rekeyed = ears.ls.rekeyed(epoch)
    ls.rekey('operator')
    t.equal((await rekeyed).epoch, epoch)
  }
  await sent
  t.equal(owner.count('answered'), 3_000)
  t.equal(ls.session?.epoch, 6)
  ls.drop('local', undefined)
  await Promise.all([ears.ls.closed, ears.xchange.closed])
})

t.test('BEY-1 the ends of two TLS connections that somebody joined in between get no key', async (t) => {
  const near = await connect(t, 'LS')
  const far = await connect(t, 'LS')
  // The man in the middle holds valid certificates for both sides, and passes on each message untouched.
  join(near.xchange.socket, far.ls.socket)
  const { ls, xchange, ears } = channelsOver({ ls: near.ls, xchange: far.xchange })
  xchange.open()
  ls.open()
  const [lsEnd, xchangeEnd] = await Promise.all([ears.ls.closed, ears.xchange.closed])
  t.match(lsEnd, { cause: 'kx', error: { code: 'KX_FAILED' } })
  t.match(xchangeEnd, { cause: 'kx' })

  const trusting = await connect(t, 'LS')
  const beyond = await connect(t, 'LS')
  join(trusting.xchange.socket, beyond.ls.socket)
  const unbound = Buffer.alloc(0)
  const unaware = channelsOver({
    ls: { ...trusting.ls, exporter: unbound },
    xchange: { ...beyond.xchange, exporter: unbound },
  })
  unaware.xchange.open()
  unaware.ls.open()
  await t.resolves(unaware.ears.ls.keyed, 'it is the binding that tells them, and nothing else would')
  unaware.ls.drop('local', undefined)
  await Promise.all([unaware.ears.ls.closed, unaware.ears.xchange.closed])
})

function join(one: ChannelSocket, other: ChannelSocket): void {
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    from.listen({
      onFrame: (frame) => to.send(frame),
      onClosed: () => to.terminate(),
      onFailed: () => to.terminate(),
    })
  }
}

t.test('LS-13 a peer that is killed is noticed at once, with its cause', async (t) => {
  const ends = await connect(t, 'LS')
  const { ls, xchange, ears, owner } = channelsOver(ends)
  xchange.open()
  ls.open()
  await ears.ls.keyed
  ends.xchange.socket.terminate()
  t.match(await ears.ls.closed, { cause: 'peer-close', error: { code: 'CHANNEL_DOWN' } })
  t.equal(ls.trySend(newRequest(Buffer.alloc(1))), false)
  t.equal(owner.ends.size, 0)
})

t.test('a peer that closes the socket in the middle of the kx has refused it', async (t) => {
  const ends = await connect(t, 'the xchange')
  const { ls, ears } = channelsOver(ends)
  ends.xchange.socket.listen({ onFrame: () => {}, onClosed: () => {}, onFailed: () => {} })
  ls.open()
  ends.xchange.socket.close(4_403, 'REFUSED')
  t.match(await ears.ls.closed, { cause: 'kx', error: { code: 'KX_FAILED', facts: { closeCode: 4_403 } } })
})
