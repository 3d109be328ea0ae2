import { decodeMap } from '../frames/index.ts'
import { LsxError, toLsxError } from '../runtime/index.ts'

/** Far above what any map of the kx holds. */
const LIMITS = { maxDepth: 4, maxElements: 64 } as const

export interface IntegerRange {
  readonly minimum: number
  readonly maximum: number
}

/** The fields of a kx map, each of which must be there, right and alone. Everything throws KX_FAILED. */
export class Fields {
  readonly #map: Record<string, unknown>
  readonly #mapName: string

  constructor(map: unknown, mapName: string, names: readonly string[]) {
    if (!isMap(map)) throw new LsxError('KX_FAILED', `${mapName} is not a map`)
    const present = Object.keys(map)
    if (present.length !== names.length || !names.every((name) => Object.hasOwn(map, name))) {
      throw new LsxError('KX_FAILED', `${mapName} does not have exactly the fields ${names.join(', ')}`)
    }
    this.#map = map
    this.#mapName = mapName
  }

  static decode(bytes: Buffer, mapName: string, names: readonly string[]): Fields {
    let map: Record<string, unknown>
    try {
      map = decodeMap(bytes, LIMITS)
    } catch (cause) {
      throw new LsxError('KX_FAILED', `${mapName} is malformed`, { cause: toLsxError(cause) })
    }
    return new Fields(map, mapName, names)
  }

  /** Throws unless the field is exactly `expected`. */
  expect(name: string, expected: string | number): void {
    if (this.#map[name] !== expected) throw this.#wrong(name, `not ${expected}`)
  }

  string(name: string): string {
    const value = this.#map[name]
    if (typeof value !== 'string') throw this.#wrong(name, 'not a string')
    return value
  }

  /** `byteCount`: the exact length, where there is one. The buffer is a copy. */
  bytes(name: string, byteCount?: number): Buffer {
    const value = this.#map[name]
    if (!(value instanceof Uint8Array)) throw this.#wrong(name, 'not binary')
    if (byteCount !== undefined && value.length !== byteCount) throw this.#wrong(name, `not ${byteCount} bytes long`)
    return Buffer.from(value)
  }

  integer(name: string, range: IntegerRange): number {
    const value = this.#map[name]
    // A 64-bit msgpack integer may come as a bigint.
    const integer = typeof value === 'bigint' ? Number(value) : value
    if (typeof integer !== 'number' || !Number.isSafeInteger(integer)) {
      throw this.#wrong(name, 'not an integer below 2^53')
    }
    if (integer < range.minimum || integer > range.maximum) {
      throw this.#wrong(name, `not between ${range.minimum} and ${range.maximum}`)
    }
    return integer
  }

  map(name: string, names: readonly string[]): Fields {
    return new Fields(this.#map[name], `${name} in ${this.#mapName}`, names)
  }

  #wrong(name: string, problem: string): LsxError {
    return new LsxError('KX_FAILED', `${name} in ${this.#mapName} is ${problem}`)
  }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}
