/** Signs bytes with one Ed25519 key (RFC 8032). A party's identity is one. */
export interface TokenSigner {
  readonly kid: string
  sign(message: Buffer): Buffer
}

/** A moment of a token: whole seconds since 1970 (RFC 7519 section 2). */
export function numericDate(wallMs: number): number {
  return Math.floor(wallMs / 1_000)
}

/**
 * A JWT in compact form, signed with EdDSA. Not by jose, whose signing is asynchronous: a session's token has to leave
 * before its first request. Everything a token of ours signs begins with `ey`, and a proof of the kx with `LS-KX-`, so
 * that neither signature can stand for the other.
 */
export function makeToken(signer: TokenSigner, typ: string, claims: Readonly<Record<string, unknown>>): string {
  const header = encode({ alg: 'EdDSA', typ, kid: signer.kid })
  const signed = `${header}.${encode(claims)}`
  return `${signed}.${signer.sign(Buffer.from(signed)).toString('base64url')}`
}

function encode(part: Readonly<Record<string, unknown>>): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
