import { decodeMeta, MAX_META_BYTES } from '../../frames/index.ts'
import { LsxError } from '../../runtime/index.ts'

/**
 * The signature travels in the record's meta map as its first entry, `sig`: bin for a batch proof, str for a JWS. First,
 * so that what it covers of the meta are simply the bytes behind it.
 */
export interface SignedMeta {
  /** A batch proof as Buffer, a JWS as text, or undefined where the message is not signed. */
  readonly signature: Buffer | string | undefined
  /** The other entries as encoded, without the map's header. */
  readonly entries: Buffer
}

const NAME = Buffer.from('a3736967', 'hex')
const NO_BYTES = Buffer.alloc(0)
const UNSIGNED: SignedMeta = { signature: undefined, entries: NO_BYTES }

/** Header of the map, name, header of the value. */
const OVERHEAD_BYTES = 5 + NAME.length + 3

/** How much the meta of a record grows by a signature of so many bytes, at most. */
export function metaGrowth(signatureBytes: number): number {
  return OVERHEAD_BYTES + signatureBytes
}

/** @throws LsxError TOO_LARGE where a signature of so many bytes does not fit beside the meta */
export function checkMetaRoom(meta: Buffer | undefined, signatureBytes: number): void {
  const metaBytes = (meta?.length ?? 0) + metaGrowth(signatureBytes)
  if (metaBytes <= MAX_META_BYTES) return
  throw new LsxError('TOO_LARGE', 'the meta of a record has no room for its signature', {
    facts: { metaBytes, maxMetaBytes: MAX_META_BYTES },
  })
}

/**
 * The entries of an encoded map, and how many they are.
 *
 * @throws LsxError BAD_REQUEST for a meta that brings a `sig` of its own: the name belongs to the daemons
 */
export function metaEntries(meta: Buffer | undefined): { entries: Buffer; count: number } {
  if (meta === undefined) return { entries: NO_BYTES, count: 0 }
  const { count, start } = mapHeader(meta)
  if (count > 0 && Object.hasOwn(decodeMeta(meta), 'sig'))
    throw new LsxError('BAD_REQUEST', 'the meta of a request names "sig", which is for the signature of the daemon')
  return { entries: meta.subarray(start), count }
}

/** The meta with the signature in front of its entries. */
export function withSignature(signature: Buffer | string, entries: Buffer, count: number): Buffer {
  const isText = typeof signature === 'string'
  const length = signature.length
  const meta = Buffer.allocUnsafe(OVERHEAD_BYTES + length + entries.length)
  let end = writeMapHeader(meta, count + 1)
  end += NAME.copy(meta, end)
  if (length < 0x100) {
    meta[end++] = isText ? 0xd9 : 0xc4
    meta[end++] = length
  } else {
    meta[end++] = isText ? 0xda : 0xc5
    end = meta.writeUInt16BE(length, end)
  }
  end += isText ? meta.write(signature, end, 'latin1') : signature.copy(meta, end)
  meta.set(entries, end)
  return meta.subarray(0, end + entries.length)
}

/**
 * Takes a received meta apart; it has passed the scan of the record's decoder.
 *
 * @throws LsxError SIGNATURE_INVALID for a `sig` in another place or of another type
 */
export function signedMeta(meta: Buffer | undefined): SignedMeta {
  if (meta === undefined) return UNSIGNED
  const { count, start } = mapHeader(meta)
  if (count === 0) return UNSIGNED
  const nameEnd = start + NAME.length
  if (!isSignatureAt(meta, start)) {
    if (Object.hasOwn(decodeMeta(meta), 'sig'))
      throw new LsxError('SIGNATURE_INVALID', 'the signature is not the first entry of the meta')
    return { signature: undefined, entries: meta.subarray(start) }
  }
  const value = valueAt(meta, nameEnd)
  if (value === undefined)
    throw new LsxError('SIGNATURE_INVALID', 'the signature is neither bin nor str of 8 or 16 bits')
  const { valueStart, end, isText } = value
  return {
    signature: isText ? meta.toString('latin1', valueStart, end) : meta.subarray(valueStart, end),
    entries: meta.subarray(end),
  }
}

/** The formats bin 8 and 16, str 8 and 16. */
function valueAt(meta: Buffer, start: number): { valueStart: number; end: number; isText: boolean } | undefined {
  const token = meta[start] as number
  const isText = token === 0xd9 || token === 0xda
  if (token === 0xc4 || token === 0xd9)
    return { valueStart: start + 2, end: start + 2 + (meta[start + 1] ?? 0), isText }
  if (token !== 0xc5 && token !== 0xda) return undefined
  return { valueStart: start + 3, end: start + 3 + meta.readUInt16BE(start + 1), isText }
}

/** A received meta without its signature: whoever reads the rest need not decode that. */
export function withoutSignature(meta: Buffer | undefined): Buffer | undefined {
  if (meta === undefined) return undefined
  const { count, start } = mapHeader(meta)
  if (count === 0 || !isSignatureAt(meta, start)) return meta
  const value = valueAt(meta, start + NAME.length)
  if (value === undefined) return meta
  if (count === 1) return undefined
  const entries = meta.subarray(value.end)
  const rest = Buffer.allocUnsafe(3 + entries.length)
  const end = writeMapHeader(rest, count - 1)
  rest.set(entries, end)
  return rest.subarray(0, end + entries.length)
}

function isSignatureAt(meta: Buffer, start: number): boolean {
  return meta.length >= start + NAME.length && NAME.compare(meta, start, start + NAME.length) === 0
}

/** The formats fixmap, map 16 and map 32. */
function mapHeader(meta: Buffer): { count: number; start: number } {
  const token = meta[0] as number
  if (token === 0xde) return { count: meta.readUInt16BE(1), start: 3 }
  if (token === 0xdf) return { count: meta.readUInt32BE(1), start: 5 }
  return { count: token & 0x0f, start: 1 }
}

function writeMapHeader(target: Buffer, count: number): number {
  if (count < 0x10) {
    target[0] = 0x80 | count
    return 1
  }
  target[0] = 0xde
  return target.writeUInt16BE(count, 1)
}
