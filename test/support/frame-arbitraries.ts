import fc from 'fast-check'
import { type RequestRecord, type ResponseRecord, ResponseStatus } from '../../lib/frames/index.ts'
import { LsxError } from '../../lib/runtime/index.ts'

const METHOD_CHARACTERS = [...'ABCXYZabcxyz0189._:/-']

export const anyBytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes))

export const uint32: fc.Arbitrary<number> = fc.oneof(
  fc.nat(0xffff_ffff),
  fc.constantFrom(0, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff),
)

export const key: fc.Arbitrary<string> = fc
  .oneof(fc.uuid(), fc.string({ minLength: 1, maxLength: 64 }), fc.string({ unit: 'binary', minLength: 1 }))
  .filter((text) => text.length > 0 && Buffer.byteLength(text) <= 64)

export const method: fc.Arbitrary<string> = fc.string({
  unit: fc.constantFrom(...METHOD_CHARACTERS),
  minLength: 1,
  maxLength: 64,
})

const mapKey = fc
  .oneof(
    fc.string({ maxLength: 12 }),
    fc.string({ unit: 'binary', maxLength: 12 }),
    fc.constantFrom('constructor', 'toJSON', 'hasOwnProperty', 'length', '0', '4294967295'),
  )
  .filter((text) => text !== '__proto__')

/** Values that a map may hold. No -0: msgpack has one zero. No long text with a byte order mark: refused by rule. */
const { value: plainValue } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double().map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.bigInt({ min: 2n ** 53n + 1n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) - 1n }),
    fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => !text.startsWith('\ufeff')),
    fc.string({ minLength: 60, maxLength: 300 }),
    anyBytes(40),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(mapKey, tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
}))
export const plainMap: fc.Arbitrary<Record<string, unknown>> = fc.dictionary(mapKey, plainValue, {
  maxKeys: 20,
  noNullPrototype: true,
})

export const requestRecord = (meta: fc.Arbitrary<Buffer | undefined>): fc.Arbitrary<RequestRecord> =>
  fc.record({ id: uint32, key, method, budgetMs: uint32, payload: anyBytes(400), meta }, { noNullPrototype: true })

export const responseRecord = (meta: fc.Arbitrary<Buffer | undefined>): fc.Arbitrary<ResponseRecord> =>
  fc.record(
    { id: uint32, status: fc.constantFrom(...Object.values(ResponseStatus)), payload: anyBytes(400), meta },
    { noNullPrototype: true },
  )

/** What `decode` returns, or undefined when it refuses the bytes as it should; any other error is thrown on. */
export function decodedOrInvalid<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch (error) {
    if (error instanceof LsxError && error.code === 'FRAME_INVALID') return undefined
    throw error
  }
}

/** Bytes from small pieces of msgpack, which reach deeper into a decoder than random bytes do. */
export const msgpackPieces: fc.Arbitrary<Buffer> = fc
  .array(
    fc.oneof(
      fc.constantFrom(...Array.from({ length: 256 }, (_, byte) => Buffer.from([byte]))),
      fc.constantFrom(
        '80',
        '90',
        'a0',
        'c0',
        '81a161',
        '91',
        'a161',
        'c40161',
        'd901',
        'dc0001',
        'cf',
        'd47240',
        '9391a161',
      ),
      fc.constantFrom('95', '96', '93', '94', '05', 'a16b', 'a16d', 'cd0100', 'c403616263', '81a16101', 'ce00010000'),
    ),
    { maxLength: 24 },
  )
  .map((pieces) =>
    Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'hex') : piece))),
  )
