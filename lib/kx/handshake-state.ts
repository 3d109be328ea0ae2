import type { KeyObject } from 'node:crypto'
import { TAG_BYTES } from '../frames/index.ts'
import { LsxError, toLsxError } from '../runtime/index.ts'
import { NOISE_MAX_MESSAGE_BYTES, X25519_KEY_BYTES } from './constants.ts'
import type { HandshakePattern, Token } from './patterns.ts'
import { SymmetricState } from './symmetric-state.ts'
import { type KeyPair, type KeyPairSource, x25519 } from './x25519.ts'

export interface HandshakeOptions {
  readonly pattern: HandshakePattern
  readonly role: 'initiator' | 'responder'
  readonly prologue: Buffer
  readonly staticKeys: KeyPair
  readonly newEphemeral: KeyPairSource
}

/** What a finished handshake leaves behind. The two keys belong to the caller, who zeroes them. */
export interface HandshakeResult {
  readonly initiatorKey: Buffer
  readonly responderKey: Buffer
  readonly handshakeHash: Buffer
  readonly remoteStatic: Buffer
}

/**
 * HandshakeState of Noise section 5.3: interprets a pattern token by token.
 * Any failure destroys it, so a message can never be tried twice against the same state.
 */
export class HandshakeState {
  readonly #symmetric: SymmetricState
  readonly #pattern: HandshakePattern
  readonly #initiator: boolean
  readonly #staticKeys: KeyPair
  readonly #newEphemeral: KeyPairSource
  #ephemeralKeys: KeyPair | undefined
  #remoteStatic: Buffer | undefined
  #remoteEphemeral: Buffer | undefined
  #messageIndex = 0
  #destroyed = false

  constructor(options: HandshakeOptions) {
    this.#pattern = options.pattern
    this.#initiator = options.role === 'initiator'
    this.#staticKeys = options.staticKeys
    this.#newEphemeral = options.newEphemeral
    this.#symmetric = new SymmetricState(options.pattern.protocolName)
    this.#symmetric.mixHash(options.prologue)
  }

  /** The peer's static public key, once its message has been read. */
  get remoteStatic(): Buffer {
    if (this.#remoteStatic === undefined) throw new LsxError('INTERNAL', 'the peer has not sent its static key yet')
    return this.#remoteStatic
  }

  writeMessage(payload: Buffer): Buffer {
    const tokens = this.#nextTokens(this.#initiator)
    return this.#step(() => {
      const parts: Buffer[] = []
      for (const token of tokens) {
        if (token === 'e') {
          this.#ephemeralKeys = this.#newEphemeral()
          this.#symmetric.mixHash(this.#ephemeralKeys.publicKey)
          parts.push(this.#ephemeralKeys.publicKey)
        } else if (token === 's') {
          parts.push(this.#symmetric.encryptAndHash(this.#staticKeys.publicKey))
        } else {
          this.#mixDh(token)
        }
      }
      parts.push(this.#symmetric.encryptAndHash(payload))
      const message = Buffer.concat(parts)
      if (message.length > NOISE_MAX_MESSAGE_BYTES) {
        throw new LsxError('INTERNAL', `a Noise message of ${message.length} bytes is over the limit`)
      }
      return message
    })
  }

  /** Returns the payload. Throws KX_FAILED on anything but the message that the peer's state wrote. */
  readMessage(message: Buffer): Buffer {
    const tokens = this.#nextTokens(!this.#initiator)
    return this.#step(() => {
      if (message.length > NOISE_MAX_MESSAGE_BYTES) throw new LsxError('KX_FAILED', 'a handshake message is too long')
      let offset = 0
      const take = (byteCount: number): Buffer => {
        const part = Buffer.from(message.subarray(offset, offset + byteCount))
        if (part.length < byteCount) throw new LsxError('KX_FAILED', 'a handshake message is too short')
        offset += byteCount
        return part
      }
      for (const token of tokens) {
        if (token === 'e') {
          this.#remoteEphemeral = take(X25519_KEY_BYTES)
          this.#symmetric.mixHash(this.#remoteEphemeral)
        } else if (token === 's') {
          const sealed = take(X25519_KEY_BYTES + (this.#symmetric.hasKey() ? TAG_BYTES : 0))
          this.#remoteStatic = this.#symmetric.decryptAndHash(sealed)
        } else {
          this.#mixDh(token)
        }
      }
      return this.#symmetric.decryptAndHash(take(message.length - offset))
    })
  }

  /** After the last message: the keys and what was proven. Consumes the state. */
  finish(): HandshakeResult {
    if (this.#destroyed || this.#messageIndex !== this.#pattern.messages.length) {
      throw new LsxError('INTERNAL', 'the handshake is not complete')
    }
    const remoteStatic = this.remoteStatic
    const handshakeHash = this.#symmetric.handshakeHash()
    const [initiatorKey, responderKey] = this.#symmetric.split()
    this.destroy()
    return { initiatorKey, responderKey, handshakeHash, remoteStatic }
  }

  /** Zeroes the secrets. Safe to call twice. */
  destroy(): void {
    this.#destroyed = true
    this.#symmetric.destroy()
    this.#ephemeralKeys = undefined
  }

  #nextTokens(initiatorsTurn: boolean): readonly Token[] {
    const tokens = this.#pattern.messages[this.#messageIndex]
    const initiatorWrites = this.#messageIndex % 2 === 0
    if (this.#destroyed || tokens === undefined || initiatorWrites !== initiatorsTurn) {
      throw new LsxError('INTERNAL', 'the handshake state does not expect this call')
    }
    return tokens
  }

  #step(work: () => Buffer): Buffer {
    try {
      const result = work()
      this.#messageIndex++
      return result
    } catch (thrown) {
      this.destroy()
      throw toLsxError(thrown)
    }
  }

  #mixDh(token: Exclude<Token, 'e' | 's'>): void {
    const [initiatorsKey, respondersKey] = [token[0], token[1]]
    const ownIsStatic = (this.#initiator ? initiatorsKey : respondersKey) === 's'
    const remoteIsStatic = (this.#initiator ? respondersKey : initiatorsKey) === 's'
    const ownKey: KeyObject | undefined = (ownIsStatic ? this.#staticKeys : this.#ephemeralKeys)?.privateKey
    const remoteKey = remoteIsStatic ? this.#remoteStatic : this.#remoteEphemeral
    if (ownKey === undefined || remoteKey === undefined) {
      throw new LsxError('INTERNAL', `the pattern asks for ${token} before its keys are known`)
    }
    this.#symmetric.mixKey(x25519(ownKey, remoteKey))
  }
}
