const ALPHABET = /^[A-Za-z0-9_-]*$/

/**
 * RFC 7515 section 2, strictly: no white space, no padding, no bits behind the last byte. Undefined for anything else,
 * because Node and most libraries take it, and one signature would have many spellings.
 */
export function decodeBase64url(text: string): Buffer | undefined {
  if (text.length % 4 === 1 || !ALPHABET.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64url')
  return bytes.toString('base64url') === text ? bytes : undefined
}
