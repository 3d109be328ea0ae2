import { isUtf8 } from 'node:buffer'

/**
 * A JSON object from a signed header, or what is wrong with it. `JSON.parse` takes the last of two members with one
 * name, and another reader may take the first (RFC 7515 section 4): both are refused here, at every level.
 */
export function parseJsonObject(bytes: Buffer): Record<string, unknown> | string {
  if (!isUtf8(bytes)) return 'it is not UTF-8'
  const text = bytes.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'it is not JSON'
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'it is not a JSON object'
  return hasDuplicateName(text) ? 'it names a member twice' : (value as Record<string, unknown>)
}

/** `text` is valid JSON. */
function hasDuplicateName(text: string): boolean {
  /** The names of each object that is open; undefined for an array. */
  const open: (Set<string> | undefined)[] = []
  for (let index = 0; index < text.length; index++) {
    const character = text[index]
    if (character === '{') open.push(new Set())
    else if (character === '[') open.push(undefined)
    else if (character === '}' || character === ']') open.pop()
    else if (character === '"') {
      const end = endOfString(text, index)
      const names = open.at(-1)
      if (names !== undefined && isName(text, end)) {
        const name = JSON.parse(text.slice(index, end)) as string
        if (name === '__proto__' || names.has(name)) return true
        names.add(name)
      }
      index = end - 1
    }
  }
  return false
}

function endOfString(text: string, start: number): number {
  let index = start + 1
  while (text[index] !== '"') index += text[index] === '\\' ? 2 : 1
  return index + 1
}

/** A string is a member's name where a colon follows it. */
function isName(text: string, end: number): boolean {
  let index = end
  while (/\s/.test(text[index] ?? '')) index++
  return text[index] === ':'
}
