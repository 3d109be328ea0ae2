import { LsxError } from '../../runtime/index.ts'

const MAX_DEPTH = 8

/**
 * Parses a JSON object that names no member twice, at any depth. `JSON.parse` alone keeps the last of two, and another
 * reader may keep the first: both would be right (RFC 8259 section 4), and see different claims.
 *
 * @throws LsxError TOKEN_INVALID
 */
export function parseJsonObject(text: string, what: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new LsxError('TOKEN_INVALID', `${what} is not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new LsxError('TOKEN_INVALID', `${what} is not a JSON object`)
  checkMembers(text, what)
  return value as Record<string, unknown>
}

/** `text` is known to be valid JSON: so a string before a colon is a member's name. */
function checkMembers(text: string, what: string): void {
  const open: (Set<string> | undefined)[] = []
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === '{' || character === '[') {
      open.push(character === '{' ? new Set() : undefined)
      if (open.length > MAX_DEPTH) throw new LsxError('TOKEN_INVALID', `${what} is nested too deeply`)
    } else if (character === '}' || character === ']') open.pop()
    else if (character === '"') {
      const end = endOfString(text, at)
      const members = open.at(-1)
      if (members !== undefined && nextVisible(text, end) === ':') {
        // Parsed, so that an escaped spelling of a name is the same name.
        const name = JSON.parse(text.slice(at, end)) as string
        if (name === '__proto__' || members.has(name))
          throw new LsxError('TOKEN_INVALID', `${what} names a member twice`, { facts: { member: name.slice(0, 32) } })
        members.add(name)
      }
      at = end - 1
    }
  }
}

function endOfString(text: string, start: number): number {
  let at = start + 1
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at + 1
}

function nextVisible(text: string, from: number): string | undefined {
  let at = from
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++
  return text[at]
}
