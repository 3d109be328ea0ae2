/** Tokens of a message pattern (Noise section 7.1): send a key, or mix in a DH, named initiator's key first. */
export type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss'

/** A handshake pattern without pre-messages. Message 0 is the initiator's, then they alternate. */
export interface HandshakePattern {
  readonly protocolName: string
  readonly messages: readonly (readonly Token[])[]
}

/** Noise section 7.5, XX: both ends send their static keys, each under encryption. */
export const XX: HandshakePattern = {
  protocolName: 'Noise_XX_25519_AESGCM_SHA256',
  messages: [['e'], ['e', 'ee', 's', 'es'], ['s', 'se']],
}
