import { jsonReplacer } from '../ipc/index.ts'
import { LsxError } from '../runtime/index.ts'

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu
const STRINGS_AND_NUMBERS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g

/**
 * JSON in which peers' words cannot command the terminal: what is not printable is escaped, so that nothing is lost.
 * Bytes become base64, integers past 2^53 strings, as in the human form of the sockets.
 */
export function jsonText(value: unknown): string {
  return escapeUnprintable(JSON.stringify(value, jsonReplacer))
}

/** The same over several lines, for people. */
export function prettyJsonText(value: unknown): string {
  const lines = JSON.stringify(value, jsonReplacer, 2).split('\n')
  return lines.map(escapeUnprintable).join('\n')
}

function escapeUnprintable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    let escaped = ''
    for (let index = 0; index < character.length; index++) {
      escaped += `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`
    }
    return escaped
  })
}

/** A payload that a person typed. BAD_REQUEST when it is not JSON, or holds an integer that would arrive as another one. */
export function parsePayload(text: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new LsxError('BAD_REQUEST', `the payload is not JSON: ${(error as Error).message}`, { cause: error })
  }
  // JSON.parse rounds in silence, and this may be an amount.
  for (const [token] of text.matchAll(STRINGS_AND_NUMBERS)) {
    const number = Number(token)
    if (/^-?\d+$/.test(token) ? !Number.isSafeInteger(number) : Math.abs(number) === Number.POSITIVE_INFINITY) {
      throw new LsxError('BAD_REQUEST', `the payload holds ${token}, which would not arrive exactly: make it a string`)
    }
  }
  return value
}
