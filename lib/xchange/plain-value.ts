const MAX_DEPTH = 16
const MAX_NODES = 65_536

/** The two forms that values take outside: msgpack knows bytes and 64-bit integers, JSON does not. */
export type PlainForm = 'msgpack' | 'json'

/**
 * The value in types that the form carries: dates as ISO text, maps as objects, sets as arrays, `toJSON` honoured,
 * functions and undefined left out as JSON does; for JSON also bytes as base64 and big integers as decimal text.
 *
 * @throws TypeError deeper than 16, more than 65,536 values, or a cycle
 */
export function toPlainValue(value: unknown, form: PlainForm): unknown {
  return new Plainer(form).plain(value, 0)
}

class Plainer {
  readonly #form: PlainForm
  #nodes = 0

  constructor(form: PlainForm) {
    this.#form = form
  }

  plain(value: unknown, depth: number): unknown {
    this.#nodes += 1
    if (depth > MAX_DEPTH) throw new TypeError(`the value is nested deeper than ${MAX_DEPTH}, or contains itself`)
    if (this.#nodes > MAX_NODES) throw new TypeError(`the value has more than ${MAX_NODES} parts`)
    switch (typeof value) {
      case 'string':
        // Half a surrogate pair is not text; UTF-8 has a replacement character for it.
        return Buffer.from(value).toString()
      case 'number':
      case 'boolean':
        return value
      case 'bigint':
        return this.#form === 'msgpack' && fitsIn64Bits(value) ? value : value.toString()
      case 'object':
        return value === null ? null : this.#plainObject(value, depth)
      default:
        return undefined
    }
  }

  #plainObject(value: object, depth: number): unknown {
    if (ArrayBuffer.isView(value)) {
      const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      return this.#form === 'json' ? bytes.toString('base64') : bytes
    }
    if (Array.isArray(value) || value instanceof Set) {
      return Array.from(value, (item) => this.plain(item, depth + 1) ?? null)
    }
    if (value instanceof Map) return this.#plainEntries(value, depth)
    if ('toJSON' in value && typeof value.toJSON === 'function') return this.plain(value.toJSON(), depth + 1)
    if (value instanceof Error) return { name: value.name, message: value.message }
    return this.#plainEntries(Object.entries(value), depth)
  }

  #plainEntries(entries: Iterable<readonly [unknown, unknown]>, depth: number): Record<string, unknown> {
    const plain: Record<string, unknown> = {}
    for (const [name, item] of entries) {
      const plainItem = this.plain(item, depth + 1)
      // An assignment to __proto__ would set the prototype.
      if (plainItem !== undefined && name !== '__proto__') plain[String(name)] = plainItem
    }
    return plain
  }
}

function fitsIn64Bits(value: bigint): boolean {
  return BigInt.asIntN(64, value) === value || BigInt.asUintN(64, value) === value
}
