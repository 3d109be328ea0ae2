import { Packr, Unpackr } from 'msgpackr'
import { scanValue } from '../frames/index.ts'
import { LsxError } from '../runtime/index.ts'
import { toPlainValue } from './plain-value.ts'

/** msgpackr takes about 50 ms for 65,536 empty maps and holds up everybody; a real payload of 64 KiB has some thousands. */
const ARRIVING_LIMITS = { maxDepth: 16, maxElements: 16_384 }
const LEAVING_LIMITS = { maxDepth: 16, maxElements: 65_536 }

/** What `meta.type` says of a payload in the usual format; saying nothing means the same. */
const MSGPACK_TYPES: readonly unknown[] = [undefined, 'msgpack', 'application/msgpack']

/**
 * Payload bytes to values and back, as handlers see them. LS never looks inside, so what arrives is as an app wrote it:
 * it is scanned before msgpackr sees it.
 */
export class PayloadCodec {
  readonly #unpackr = new Unpackr({
    useRecords: false,
    mapsAsObjects: true,
    // A handler may keep what it gets; an alias would keep the whole frame.
    copyBuffers: true,
    // 'auto' (a number where it is exact, else a bigint) is missing in msgpackr's types.
    int64AsType: 'auto' as 'number',
  })
  readonly #packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true })

  /**
   * The decoded value; undefined for no bytes at all; the bytes themselves when `type` names another format.
   *
   * @throws LsxError BAD_REQUEST
   */
  decode(bytes: Buffer, type: unknown): unknown {
    if (!MSGPACK_TYPES.includes(type)) return Buffer.from(bytes)
    if (bytes.byteLength === 0) return undefined
    try {
      const end = scanValue(bytes, 0, ARRIVING_LIMITS)
      if (end !== bytes.byteLength) throw new LsxError('FRAME_INVALID', 'there are bytes after the value')
      return this.#unpackr.unpack(bytes)
    } catch (error) {
      throw new LsxError('BAD_REQUEST', 'the payload is not one msgpack value within the limits', { cause: error })
    }
  }

  /**
   * One msgpack value without extensions, so that any peer can read it.
   *
   * @throws TypeError, RangeError or LsxError for what cannot be carried
   */
  encode(value: unknown): Buffer {
    try {
      const bytes = this.#packr.pack(value)
      scanValue(bytes, 0, LEAVING_LIMITS)
      return bytes
    } catch {
      // A date, a map with numbers for keys and the like: msgpackr writes extensions for them, or throws.
      const bytes = this.#packr.pack(toPlainValue(value, 'msgpack'))
      scanValue(bytes, 0, LEAVING_LIMITS)
      return bytes
    }
  }
}
