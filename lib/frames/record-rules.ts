import { MAX_KEY_BYTES, MAX_METHOD_BYTES } from './limits.ts'

const METHOD = /^[A-Za-z0-9._:/-]+$/
const LONE_SURROGATE = /\p{Surrogate}/u

/** 1 for each byte that a method may hold. */
export const METHOD_BYTES: Uint8Array = methodBytes()

/** An idempotency key: 1 to 64 bytes of well-formed UTF-8. */
export function isKey(text: string): boolean {
  if (text.length === 0 || text.length > MAX_KEY_BYTES) return false
  return Buffer.byteLength(text) <= MAX_KEY_BYTES && isWellFormed(text)
}

/** A method: 1 to 64 of [A-Za-z0-9._:/-]. */
export function isMethod(text: string): boolean {
  return text.length <= MAX_METHOD_BYTES && METHOD.test(text)
}

/** False for a string with a lone surrogate, which UTF-8 cannot carry and which writing would replace in silence. */
export function isWellFormed(text: string): boolean {
  return !LONE_SURROGATE.test(text)
}

function methodBytes(): Uint8Array {
  const allowed = new Uint8Array(256)
  for (let byte = 0; byte < 0x80; byte++) if (METHOD.test(String.fromCharCode(byte))) allowed[byte] = 1
  return allowed
}
