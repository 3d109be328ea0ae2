import { LsxError } from '../runtime/index.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const OPENING = new Set([0x7b, 0x5b])
const CLOSING = new Set([0x7d, 0x5d])

/**
 * JSON.parse takes the last of two members of one name in silence, and who checks a message may have read the first. For
 * text that JSON.parse has taken.
 *
 * @throws LsxError BAD_REQUEST
 */
export function refuseDuplicateNames(json: string): void {
  // Names of the objects that are open; arrays have a set as well, which stays empty.
  const open: Set<string>[] = []
  for (let index = 0; index < json.length; index++) {
    const unit = json.charCodeAt(index)
    if (unit === QUOTE) {
      const end = endOfString(json, index)
      if (isName(json, end)) addName(open.at(-1), json.slice(index, end + 1), index)
      index = end
    } else if (OPENING.has(unit)) open.push(new Set())
    else if (CLOSING.has(unit)) open.pop()
  }
}

function endOfString(json: string, start: number): number {
  let index = start + 1
  while (json.charCodeAt(index) !== QUOTE) index += json.charCodeAt(index) === BACKSLASH ? 2 : 1
  return index
}

/** A string is a name where a colon follows it. */
function isName(json: string, end: number): boolean {
  let index = end + 1
  while (/[ \t\r\n]/.test(json.charAt(index))) index++
  return json.charCodeAt(index) === COLON
}

function addName(names: Set<string> | undefined, text: string, position: number): void {
  // Escapes are other spellings of the same name.
  const name = JSON.parse(text) as string
  if (names?.has(name) === true)
    throw new LsxError('BAD_REQUEST', `the name at position ${position} stands twice in its object`)
  names?.add(name)
}
