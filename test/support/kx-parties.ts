import { generateKeyPairSync, randomBytes } from 'node:crypto'
import {
  answerFinKx,
  answerInitKx,
  beginLsKx,
  continueLsKx,
  type Identity,
  identityFromPrivateKey,
  type KeyPair,
  type KxTime,
  type LsKxConfig,
  type LsKxState,
  type Session,
  type XchangeKxConfig,
  type XchangeKxState,
  x25519KeyPairFromRaw,
} from '../../lib/kx/index.ts'

export const KX_TIME: KxTime = { wallMs: 1_800_000_000_000, monotonicMs: 5_000 }

export function newKeyPair(): KeyPair {
  return x25519KeyPairFromRaw(randomBytes(32))
}

export function newIdentity(): Identity {
  return identityFromPrivateKey(generateKeyPairSync('ed25519').privateKey)
}

/** Gives out the key pairs again and again, in order: what is made with them can be made again. */
export function repeatedKeyPairs(...keyPairs: readonly KeyPair[]): () => KeyPair {
  let calls = 0
  return () => {
    const keyPair = keyPairs[calls++ % keyPairs.length]
    if (keyPair === undefined) throw new Error('no key pairs were given')
    return keyPair
  }
}

export interface KxParties {
  readonly ls: LsKxConfig
  readonly xchange: XchangeKxConfig
}

/** Both sides of a kx that will succeed, with new keys and identities, unless `overrides` spoil it. */
export function kxParties(
  overrides: { readonly ls?: Partial<LsKxConfig>; readonly xchange?: Partial<XchangeKxConfig> } = {},
): KxParties {
  const lsIdentity = newIdentity()
  const xchangeIdentity = newIdentity()
  const exporter = randomBytes(32)
  return {
    ls: {
      bankCode: '044',
      generation: 1_800_000_000_000,
      exporter,
      staticKeys: newKeyPair(),
      newEphemeral: newKeyPair,
      identity: lsIdentity,
      pinnedIdentities: [xchangeIdentity.publicKey],
      terms: {
        echoIntervalMs: 10_000,
        echoTimeoutMs: 5_000,
        rekeyAfterMs: 3_600_000,
        rekeyAfterFrames: 2 ** 20,
        rekeyAfterBytes: 2 ** 30,
        maxFrameBytes: 65_536,
      },
      epoch: 1,
      sessionId: randomBytes(16),
      ...overrides.ls,
    },
    xchange: {
      bankCode: '044',
      highestGeneration: 0,
      exporter,
      newKeyPair,
      identity: xchangeIdentity,
      pinnedIdentities: [lsIdentity.publicKey],
      offer: { windowRecords: 1_024, maxFrameBytes: 65_536, bootId: randomBytes(16) },
      epoch: 1,
      ...overrides.xchange,
    },
  }
}

/** The states at the end of a kx, where a side came to have one, and the frames that were sent, in order. */
export interface KxRun {
  readonly ls: LsKxState | undefined
  readonly xchange: XchangeKxState | undefined
  readonly frames: readonly Buffer[]
}

/**
 * Carries frames between both sides until one has nothing more to send. `tamper` gets each frame with its index (0
 * INIT_KX to 3 FIN_KX_RSP) and returns what arrives.
 */
export function runKx(
  parties: KxParties,
  options: {
    readonly tamper?: (frame: Buffer, index: number) => Buffer
    readonly lsTime?: KxTime
    readonly xchangeTime?: KxTime
  } = {},
): KxRun {
  const { tamper = (frame) => frame, lsTime = KX_TIME, xchangeTime = KX_TIME } = options
  const frames: Buffer[] = []
  const carry = (frame: Buffer): Buffer => {
    frames.push(frame)
    return tamper(frame, frames.length - 1)
  }
  const init = beginLsKx(parties.ls, lsTime)
  if (init.frame === undefined) return { ls: init.state, xchange: undefined, frames }
  const initRsp = answerInitKx(parties.xchange, carry(init.frame), xchangeTime)
  const fin = continueLsKx(init.state, carry(initRsp.frame), lsTime)
  if (fin.frame === undefined || initRsp.state.name !== 'awaitingFinKx') {
    return { ls: fin.state, xchange: initRsp.state, frames }
  }
  const finRsp = answerFinKx(initRsp.state, carry(fin.frame), xchangeTime)
  const end = continueLsKx(fin.state, carry(finRsp.frame), lsTime)
  return { ls: end.state, xchange: finRsp.state, frames }
}

/** Both sessions of a kx that must succeed. */
export function establish(parties: KxParties = kxParties()): { ls: Session; xchange: Session } {
  const { ls, xchange } = runKx(parties)
  if (ls?.name !== 'established' || xchange?.name !== 'established') {
    throw new Error(`the kx ended as ${ls?.name} and ${xchange?.name}`, {
      cause: ls?.name === 'failed' ? ls.error : undefined,
    })
  }
  return { ls: ls.session, xchange: xchange.session }
}

/** The error of a state that must have failed. */
export function kxError(state: LsKxState | XchangeKxState | undefined) {
  if (state?.name !== 'failed') throw new Error(`the kx is ${state?.name}, not failed`)
  return state.error
}
