import { LsxError } from '../../runtime/index.ts'

const MAX_DEPTH = 64

/**
 * JSON as Mojaloop's components write it for a signature: members sorted by UTF-16 code units at every level, no white
 * space, no escapes but those that JSON demands, numbers in their shortest form. They parse a body and write it anew in
 * this way before they verify it, so no other form can be verified by them.
 *
 * @throws LsxError BAD_REQUEST for what JSON does not carry as it is: NaN, functions, dates, more than 64 levels
 */
export function canonicalJson(value: unknown): string {
  return write(value, 0)
}

function write(value: unknown, depth: number): string {
  if (depth > MAX_DEPTH) throw unfit(`more than ${MAX_DEPTH} levels`)
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return JSON.stringify(value)
    case 'number':
      if (!Number.isFinite(value)) throw unfit('a number that is not finite')
      return JSON.stringify(value)
    case 'object':
      if (value === null) return 'null'
      if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(',')}]`
      return writeObject(value, depth)
    default:
      throw unfit(`a value of type ${typeof value}`)
  }
}

function writeObject(object: object, depth: number): string {
  const prototype = Object.getPrototypeOf(object)
  if (prototype !== Object.prototype && prototype !== null) throw unfit('an object that is not plain')
  const members: string[] = []
  for (const name of Object.keys(object).sort()) {
    const value = (object as Record<string, unknown>)[name]
    if (value !== undefined) members.push(`${JSON.stringify(name)}:${write(value, depth + 1)}`)
  }
  return `{${members.join(',')}}`
}

function unfit(what: string): LsxError {
  return new LsxError('BAD_REQUEST', `a body that is to be signed as JSON holds ${what}`)
}
