import type { Test } from 'tap'
import { LsxError } from '../../lib/runtime/index.ts'
import type { Defenders } from './attack.ts'
import { merged } from './daemon-config.ts'
import {
  type InProcess,
  type LsStartOptions,
  type TestBed,
  type TestDaemon,
  type TestLs,
  TWO_BANKS,
  testBed,
} from './daemons.ts'
import {
  dialPeer,
  FakeListener,
  FakeLs,
  type FakeLsOptions,
  FakeXchange,
  type FakeXchangeOptions,
  type PeerSocket,
} from './fake-peers.ts'

/** LS dials this bank, which a test plays. */
export const DIALLED_FAKE = '066'
/** This bank dials LS, and a test plays it. */
export const DIALLING_FAKE = '077'

/** Two real banks to be left alone, two fake ones to misbehave, and fake LSs for the real xchange 044. */
export interface FakeBanks extends Defenders {
  readonly bed: TestBed
  readonly ls: TestLs & InProcess
  /** The xchange of 044, which LS dials. */
  readonly xchange: TestDaemon & InProcess
  /** An open socket between LS and the fake bank; LS begins the kx at once. */
  openAsBank(code: string): Promise<PeerSocket>
  asBank(code: string, socket: PeerSocket, over?: Partial<FakeXchangeOptions>): FakeXchange
  /** The same, keyed, and LS knows it. */
  keyedAsBank(code: string, over?: Partial<FakeXchangeOptions>): Promise<FakeXchange>
  /** An open socket to the xchange of 044 with LS's own certificate. */
  openAsLs(): Promise<PeerSocket>
  asLs(socket: PeerSocket, over?: Partial<FakeLsOptions>): FakeLs
}

export async function fakeBanks(
  t: Test,
  options: {
    times?: Record<string, unknown>
    ls?: LsStartOptions
    xchange?: { config?: Record<string, unknown> }
  } = {},
): Promise<FakeBanks> {
  const bed = await testBed(t, {
    banks: [
      ...TWO_BANKS,
      { code: DIALLED_FAKE, dial: 'ls', isFake: true },
      { code: DIALLING_FAKE, dial: 'xchange', isFake: true },
    ],
    ...(options.times === undefined ? {} : { times: options.times }),
  })
  const listener = await FakeListener.listen(bed.node(DIALLED_FAKE))
  t.teardown(() => listener.stop())
  // LS waits for its first try with each bank that it dials.
  const first = listener.nextPeer().then((socket) => asBank(DIALLED_FAKE, socket).key())
  const { ls, xchanges } = await bed.startAll({
    // These banks misbehave again and again: a test that is about quarantine says so.
    ls: {
      ...options.ls,
      config: merged({ quarantine: { rules: [] } }, options.ls?.config),
      ports: { [DIALLED_FAKE]: listener.port },
    },
    ...(options.xchange === undefined ? {} : { xchange: options.xchange }),
  })
  await first
  const xchange = xchanges.get('044')
  if (xchange === undefined) throw new Error('044 was not started')

  function asBank(code: string, socket: PeerSocket, over: Partial<FakeXchangeOptions> = {}): FakeXchange {
    return new FakeXchange(socket, { node: bed.node(code), bankCode: code, lsPin: bed.node('lsd').pin, ...over })
  }
  async function openAsBank(code: string): Promise<PeerSocket> {
    if (code === DIALLING_FAKE) return dialPeer({ port: ls.port, node: bed.node(code) })
    // LS holds one socket to the bank. One that is keyed has to go first; one that is not waits at the listener.
    if ((await ls.bankStatus(code)).state === 'connected') {
      // It may have gone by itself since it was asked about.
      await ls.admin('drop', { bank: code }).catch((error: unknown) => {
        if (!(error instanceof LsxError) || error.code !== 'CHANNEL_DOWN') throw error
      })
    }
    return listener.nextPeer()
  }
  return {
    bed,
    ls,
    xchanges,
    xchange,
    openAsBank,
    asBank,
    keyedAsBank: async (code, over) => {
      const mark = ls.log.mark
      const fake = asBank(code, await openAsBank(code), over)
      await fake.key()
      await ls.connected(code, mark)
      return fake
    },
    openAsLs: () => dialPeer({ port: xchange.port, node: bed.node('lsd') }),
    asLs: (socket, over = {}) =>
      new FakeLs(socket, { node: bed.node('lsd'), bankCode: '044', xchangePin: bed.node('044').pin, ...over }),
  }
}

/** The bank of `loneXchange`. */
export const LONE_BANK = '088'

/** An xchange that the real LS does not know how to reach: only fake ones talk to it, and none takes its channel back. */
export interface LoneXchange extends Defenders {
  readonly xchange: TestDaemon & InProcess
  /** An open socket to it with LS's own certificate. */
  open(over?: Partial<FakeLsOptions>): Promise<FakeLs>
}

export async function loneXchange(t: Test, config: Record<string, unknown> = {}): Promise<LoneXchange> {
  const bed = await testBed(t, { banks: [...TWO_BANKS, { code: LONE_BANK, dial: 'xchange', isFake: true }] })
  const { ls, xchanges } = await bed.startAll()
  const xchange = await bed.startXchange(LONE_BANK, { dial: 'ls', config })
  const own = { node: bed.node('lsd'), bankCode: LONE_BANK, xchangePin: bed.node(LONE_BANK).pin }
  const open = async (over: Partial<FakeLsOptions> = {}) =>
    new FakeLs(await dialPeer({ port: xchange.port, node: bed.node('lsd') }), { ...own, ...over })

  // As `startAll` does for the real banks.
  const first = await open()
  await first.key()
  first.sendRequest({ id: 1, method: 'echo' })
  await first.receiveResponses()
  await first.socket.close()
  await xchange.log.until({ msg: /the channel to LS ended/ })
  return { ls, xchanges: new Map([...xchanges, [LONE_BANK, xchange]]), xchange, open }
}
