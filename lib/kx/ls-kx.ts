import { readHeader } from '../frames/index.ts'
import { LsxError, toLsxError } from '../runtime/index.ts'
import { HandshakeState } from './handshake-state.ts'
import type { Identity } from './identity.ts'
import {
  checkConfirmation,
  decodeFinKxRsp,
  decodeInitKxRsp,
  decodeXchangePayload,
  encodeFinKx,
  encodeInitKx,
  encodeLsPayload,
} from './messages.ts'
import { XX } from './patterns.ts'
import { prologueOf } from './prologue.ts'
import { checkProof, makeProof, type ProofPolicy, ProofRole } from './proof.ts'
import { type KxTime, keepingOwnBytes, type Session } from './session.ts'
import { OpeningKey, SealingKey } from './session-keys.ts'
import { SingleUse } from './single-use.ts'
import { checkOwnTerms, type SessionTerms } from './terms.ts'
import type { KeyPair, KeyPairSource } from './x25519.ts'

export interface LsKxConfig extends ProofPolicy {
  readonly bankCode: string
  /** LS's fencing number. */
  readonly generation: number
  /** TLS exporter of this socket, 32 bytes; empty where channel binding is off. */
  readonly exporter: Buffer
  /** The same for the life of the process. */
  readonly staticKeys: KeyPair
  readonly newEphemeral: KeyPairSource
  readonly identity: Identity
  /** `maxFrameBytes` is LS's own limit; the session gets the smaller of it and the xchange's. */
  readonly terms: SessionTerms
  /** The epoch that this kx creates: completed kx on this socket + 1. */
  readonly epoch: number
  /** 16 random bytes, new for each kx. */
  readonly sessionId: Buffer
}

/**
 * ```
 * beginLsKx ──INIT_KX──> awaitingInitKxRsp ──FIN_KX──> awaitingFinKxRsp ──> established
 *     └───────────────────────────┴───────────────────────────┴──> failed
 * ```
 * Continuing a state consumes it. `failed` has told the peer nothing.
 */
export type LsKxState =
  | { readonly name: 'awaitingInitKxRsp'; readonly phase: SingleUse<Begun> }
  | { readonly name: 'awaitingFinKxRsp'; readonly phase: SingleUse<Session> }
  | { readonly name: 'established'; readonly session: Session }
  | { readonly name: 'failed'; readonly error: LsxError }

/** The state that follows, and the frame to send, if any. */
export interface LsKxStep {
  readonly state: LsKxState
  readonly frame?: Buffer
}

interface Begun {
  readonly config: LsKxConfig
  readonly handshake: HandshakeState
}

/** The frame of the step is INIT_KX. Never throws: a configuration that cannot work fails the kx. */
export function beginLsKx(config: LsKxConfig, _time: KxTime): LsKxStep {
  try {
    checkOwnTerms(config.terms)
    const handshake = new HandshakeState({
      pattern: XX,
      role: 'initiator',
      prologue: prologueOf(config),
      staticKeys: config.staticKeys,
      newEphemeral: config.newEphemeral,
    })
    const body = handshake.writeMessage(Buffer.alloc(0))
    const phase = new SingleUse<Begun>({ config, handshake }, (held) => held.handshake.destroy())
    return { state: { name: 'awaitingInitKxRsp', phase }, frame: encodeInitKx({ ...config, body }) }
  } catch (thrown) {
    return failed(thrown)
  }
}

/**
 * Takes the frame that answers the last one. What the peer sends never throws: it fails the kx with KX_FAILED or
 * IDENTITY_DENIED. Throws INTERNAL for a state that was continued before or awaits nothing.
 */
export function continueLsKx(state: LsKxState, frame: Buffer, time: KxTime): LsKxStep {
  switch (state.name) {
    case 'awaitingInitKxRsp':
      return receiveInitKxRsp(state.phase.take(), frame, time)
    case 'awaitingFinKxRsp':
      return receiveFinKxRsp(state.phase.take(), frame, time)
    case 'established':
    case 'failed':
      throw new LsxError('INTERNAL', `a kx that is ${state.name} awaits no frame`)
  }
}

/** Ends a kx that will not be continued: destroys its secrets. Safe in any state; a session is left alone. */
export function abandonLsKx(state: LsKxState): void {
  if ('phase' in state) state.phase.discard()
}

function receiveInitKxRsp({ config, handshake }: Begun, frame: Buffer, time: KxTime): LsKxStep {
  try {
    const { bankCode, sessionId, epoch, staticKeys } = config
    const answer = decodeInitKxRsp(frame, config)
    if (!answer.accepted) throw refusedByXchange()
    const { proof, offer } = decodeXchangePayload(handshake.readMessage(answer.body))
    const peerStatic = handshake.remoteStatic
    checkProof(proof, { role: ProofRole.xchange, bankCode, sessionId, staticKey: peerStatic }, config, time.wallMs)

    const terms = { ...config.terms, maxFrameBytes: Math.min(config.terms.maxFrameBytes, offer.maxFrameBytes) }
    const subject = { role: ProofRole.ls, bankCode, sessionId, staticKey: staticKeys.publicKey }
    const ownProof = makeProof(subject, config.identity, config, time.wallMs)
    const body = handshake.writeMessage(encodeLsPayload(ownProof, terms))

    const { initiatorKey, responderKey, handshakeHash } = handshake.finish()
    const session: Session = {
      sessionId,
      bankCode,
      epoch,
      seal: new SealingKey(initiatorKey, epoch, 0, time.monotonicMs),
      open: new OpeningKey(responderKey, epoch, 0, time.monotonicMs),
      peerIdentity: proof.identity,
      ownStatic: staticKeys.publicKey,
      peerStatic,
      handshakeHash,
      establishedAtMs: time.wallMs,
      terms,
      offer,
      generation: config.generation,
    }
    initiatorKey.fill(0)
    responderKey.fill(0)
    const phase = new SingleUse<Session>(session, destroyKeys)
    return { state: { name: 'awaitingFinKxRsp', phase }, frame: encodeFinKx(config, body) }
  } catch (thrown) {
    handshake.destroy()
    return failed(thrown)
  }
}

function receiveFinKxRsp(session: Session, frame: Buffer, time: KxTime): LsKxStep {
  try {
    const answer = decodeFinKxRsp(frame, session)
    if (!answer.accepted) throw refusedByXchange()
    checkConfirmation(openConfirmation(session, answer.sealedFrame, time), session, session.epoch)
    return { state: { name: 'established', session: keepingOwnBytes({ ...session, establishedAtMs: time.wallMs }) } }
  } catch (thrown) {
    destroyKeys(session)
    return failed(thrown)
  }
}

function openConfirmation(session: Session, sealedFrame: Buffer, time: KxTime): Buffer {
  try {
    return session.open.open(sealedFrame, time.monotonicMs)
  } catch (cause) {
    throw new LsxError('KX_FAILED', 'the confirmation in FIN_KX_RSP does not verify', {
      cause,
      facts: { expectedEpoch: session.epoch, epoch: readHeader(sealedFrame).epoch },
    })
  }
}

function destroyKeys(session: Session): void {
  session.seal.destroy()
  session.open.destroy()
}

function refusedByXchange(): LsxError {
  return new LsxError('KX_FAILED', 'the xchange refused the key exchange; see its log', {
    facts: { refusedByPeer: true },
  })
}

function failed(thrown: unknown): LsKxStep {
  return { state: { name: 'failed', error: toLsxError(thrown) } }
}
