import { FrameType } from '../frames/index.ts'
import { LsxError, toLsxError } from '../runtime/index.ts'
import { SESSION_ID_BYTES } from './constants.ts'
import { HandshakeState } from './handshake-state.ts'
import type { Identity } from './identity.ts'
import {
  decodeFinKx,
  decodeInitKx,
  decodeLsPayload,
  encodeConfirmation,
  encodeFinKxRsp,
  encodeInitKxRsp,
  encodeXchangePayload,
  type KxRoute,
} from './messages.ts'
import { XX } from './patterns.ts'
import { prologueOf } from './prologue.ts'
import { checkProof, makeProof, type ProofPolicy, ProofRole } from './proof.ts'
import type { KxTime, Session } from './session.ts'
import { OpeningKey, SealingKey } from './session-keys.ts'
import { SingleUse } from './single-use.ts'
import { checkOwnOffer, type XchangeOffer } from './terms.ts'
import type { KeyPair, KeyPairSource } from './x25519.ts'

export interface XchangeKxConfig extends ProofPolicy {
  readonly bankCode: string
  /** The highest generation of any established session, across restarts; 0 before the first. */
  readonly highestGeneration: number
  /** TLS exporter of this socket, 32 bytes; empty where channel binding is off. */
  readonly exporter: Buffer
  /** Called twice for each INIT_KX: for the static key pair, then for the ephemeral one. */
  readonly newKeyPair: KeyPairSource
  readonly identity: Identity
  readonly offer: XchangeOffer
  /** The epoch that this kx creates: completed kx on this socket + 1. */
  readonly epoch: number
}

/**
 * ```
 * answerInitKx ──INIT_KX_RSP──> awaitingFinKx ──FIN_KX_RSP──> established
 *     └───────────────────────────────┴──> failed
 * ```
 * Continuing a state consumes it. The frame of a failed step is the refusal for the peer, the same whatever the reason.
 */
export type XchangeKxState =
  | { readonly name: 'awaitingFinKx'; readonly phase: SingleUse<Answered> }
  | { readonly name: 'established'; readonly session: Session }
  | { readonly name: 'failed'; readonly error: LsxError }

/** The state that follows, and the frame to send. */
export interface XchangeKxStep {
  readonly state: XchangeKxState
  readonly frame: Buffer
}

interface Answered {
  readonly config: XchangeKxConfig
  readonly handshake: HandshakeState
  readonly staticKeys: KeyPair
  readonly sessionId: Buffer
  readonly generation: number
}

/**
 * Takes INIT_KX; the frame of the step is INIT_KX_RSP. Never throws: fails with KX_FAILED, or with STALE_GENERATION for
 * an LS older than one that was accepted before.
 */
export function answerInitKx(config: XchangeKxConfig, frame: Buffer, time: KxTime): XchangeKxStep {
  const { bankCode } = config
  // Where INIT_KX cannot be read there is no session id to give back.
  let sessionId: Buffer = Buffer.alloc(SESSION_ID_BYTES)
  let handshake: HandshakeState | undefined
  try {
    checkOwnOffer(config.offer)
    const message = decodeInitKx(frame)
    sessionId = message.sessionId
    const { generation } = message
    if (message.bankCode !== bankCode) {
      throw new LsxError('KX_FAILED', 'INIT_KX is for another bank code', { facts: { asked: message.bankCode } })
    }
    // Not yet proven: a forged generation fails message 2 or 3. It is refused here to spare the work.
    if (generation < config.highestGeneration) {
      throw new LsxError('STALE_GENERATION', 'INIT_KX is of an LS older than one that was accepted before', {
        facts: { generation, highestGeneration: config.highestGeneration },
      })
    }
    const staticKeys = config.newKeyPair()
    handshake = new HandshakeState({
      pattern: XX,
      role: 'responder',
      prologue: prologueOf({ bankCode, sessionId, generation, exporter: config.exporter }),
      staticKeys,
      newEphemeral: config.newKeyPair,
    })
    if (handshake.readMessage(message.body).length > 0) {
      throw new LsxError('KX_FAILED', 'INIT_KX has a payload, which nothing would protect')
    }
    const subject = { role: ProofRole.xchange, bankCode, sessionId, staticKey: staticKeys.publicKey }
    const proof = makeProof(subject, config.identity, config, time.wallMs)
    const body = handshake.writeMessage(encodeXchangePayload(proof, config.offer))
    const answered: Answered = { config, handshake, staticKeys, sessionId, generation }
    const phase = new SingleUse(answered, (held) => held.handshake.destroy())
    return { state: { name: 'awaitingFinKx', phase }, frame: encodeInitKxRsp({ bankCode, sessionId }, body) }
  } catch (thrown) {
    handshake?.destroy()
    return {
      state: { name: 'failed', error: toLsxError(thrown) },
      frame: encodeInitKxRsp({ bankCode, sessionId }, undefined),
    }
  }
}

/**
 * Takes FIN_KX; the frame of the step is FIN_KX_RSP, which has used sequence 0 of the new session. What the peer sends
 * never throws: it fails the kx with KX_FAILED or IDENTITY_DENIED. Throws INTERNAL for a state that was continued
 * before or awaits nothing.
 */
export function answerFinKx(state: XchangeKxState, frame: Buffer, time: KxTime): XchangeKxStep {
  if (state.name !== 'awaitingFinKx') {
    throw new LsxError('INTERNAL', `a kx that is ${state.name} awaits no frame`)
  }
  const answered = state.phase.take()
  const route: KxRoute = { bankCode: answered.config.bankCode, sessionId: answered.sessionId }
  let session: Session | undefined
  try {
    session = sessionOf(answered, decodeFinKx(frame, route), time)
    const { seal, epoch } = session
    const confirmation = seal.seal(FrameType.kx, encodeConfirmation(route, epoch), time.monotonicMs)
    return { state: { name: 'established', session }, frame: encodeFinKxRsp(route, confirmation) }
  } catch (thrown) {
    answered.handshake.destroy()
    session?.seal.destroy()
    session?.open.destroy()
    return { state: { name: 'failed', error: toLsxError(thrown) }, frame: encodeFinKxRsp(route, undefined) }
  }
}

/** Ends a kx that will not be continued: destroys its secrets. Safe in any state; a session is left alone. */
export function abandonXchangeKx(state: XchangeKxState): void {
  if (state.name === 'awaitingFinKx') state.phase.discard()
}

function sessionOf(answered: Answered, body: Buffer, time: KxTime): Session {
  const { config, handshake, staticKeys, sessionId, generation } = answered
  const { bankCode, epoch, offer } = config
  const { proof, terms } = decodeLsPayload(handshake.readMessage(body))
  const peerStatic = handshake.remoteStatic
  checkProof(proof, { role: ProofRole.ls, bankCode, sessionId, staticKey: peerStatic }, config, time.wallMs)
  if (terms.maxFrameBytes > offer.maxFrameBytes) {
    throw new LsxError('KX_FAILED', 'LS asks for larger frames than were offered', {
      facts: { maxFrameBytes: terms.maxFrameBytes, offeredMaxFrameBytes: offer.maxFrameBytes },
    })
  }
  const { initiatorKey, responderKey, handshakeHash } = handshake.finish()
  const session: Session = {
    sessionId,
    bankCode,
    epoch,
    seal: new SealingKey(responderKey, epoch, 0, time.monotonicMs),
    open: new OpeningKey(initiatorKey, epoch, 0, time.monotonicMs),
    peerIdentity: proof.identity,
    ownStatic: staticKeys.publicKey,
    peerStatic,
    handshakeHash,
    establishedAtMs: time.wallMs,
    terms,
    offer,
    generation,
  }
  initiatorKey.fill(0)
  responderKey.fill(0)
  return session
}
