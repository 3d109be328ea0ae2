import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import { Packr } from 'msgpackr'
import t from 'tap'
import { decodeMap, decodeMeta, encodeMap, MAX_META_BYTES, scanValue } from '../../lib/frames/index.ts'
import { anyBytes, decodedOrInvalid, msgpackPieces, plainMap } from '../support/frame-arbitraries.ts'

/** The longest that 64 KiB from a peer may hold up the loop. */
const STALL_BOUND_MS = 20

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

t.test('a map round trips', async (t) => {
  fc.assert(
    fc.property(plainMap, (map) => {
      const bytes = encodeMap(map)
      if (scanValue(bytes, 0) !== bytes.length) return false
      deepStrictEqual(decodeMap(bytes), map)
      return true
    }),
    { numRuns: 300 },
  )
  t.pass('the same values')
})

t.test('encoding is plain msgpack in its shortest forms', async (t) => {
  t.equal(encodeMap({}).toString('hex'), '80')
  t.equal(
    encodeMap({ a: 1, b: -1, c: true, d: null, e: 'é', f: Buffer.from([1, 2]), g: [128], h: 1.5 }).toString('hex'),
    '88a16101a162ffa163c3a164c0a165a2c3a9a166c4020102a16791cc80a168cb3ff8000000000000',
  )
  t.equal(encodeMap({ a: new Uint8Array([1, 2]) }).toString('hex'), '81a161c4020102', 'any bytes are bin')
})

t.test('integers over 32 bits stay integers for readers in other languages', async (t) => {
  t.equal(encodeMap({ a: 1_800_000_000_000 }).toString('hex'), '81a161d3000001a3185c5000')
  t.equal(encodeMap({ a: [-(2 ** 40)] }).toString('hex'), '81a16191d3ffffff0000000000')
  t.equal(encodeMap({ a: 0xffff_ffff }).toString('hex'), '81a161ceffffffff')
  t.equal(encodeMap({ a: 2n ** 64n - 1n }).toString('hex'), '81a161cfffffffffffffffff')
})

t.test('64-bit integers decode exactly', async (t) => {
  t.strictSame(decodeMap(hex('81 a161 cf 0000000000000005')), { a: 5 })
  t.strictSame(decodeMap(hex('81 a161 d3 fffffffffffffffb')), { a: -5 })
  t.strictSame(decodeMap(hex('81 a161 cf 001fffffffffffff')), { a: Number.MAX_SAFE_INTEGER })
  t.equal(decodeMap(hex('81 a161 cf 0020000000000001')).a, 2n ** 53n + 1n)
  t.equal(decodeMap(hex('81 a161 cf ffffffffffffffff')).a, 2n ** 64n - 1n)
  t.equal(decodeMap(hex('81 a161 d3 8000000000000000')).a, -(2n ** 63n))
})

t.test('a field that is undefined is left out, and the given map is not changed', async (t) => {
  const given = { a: 1, b: undefined, c: { d: undefined, e: 2 ** 40 }, f: [{ g: undefined }] }
  t.strictSame(decodeMap(encodeMap(given)), { a: 1, c: { e: 2 ** 40 }, f: [{}] })
  t.strictSame(Object.keys(given), ['a', 'b', 'c', 'f'])
  t.strictSame(given.c, { d: undefined, e: 2 ** 40 })
})

t.test('names that objects inherit are ordinary keys', async (t) => {
  const map = { constructor: 1, toJSON: 2, hasOwnProperty: 3, toString: 4, valueOf: { constructor: 'x' } }
  t.strictSame(decodeMap(encodeMap(map)), map)
  const bare = Object.assign(Object.create(null), { a: Object.assign(Object.create(null), { constructor: 1 }) })
  t.strictSame(decodeMap(encodeMap(bare)), { a: { constructor: 1 } })
})

t.test('what a peer would refuse is not encoded', async (t) => {
  const circular: Record<string, unknown> = {}
  circular.self = circular
  const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)])
  const refused: Record<string, unknown> = {
    'a Date': { a: new Date(0) },
    'a Map': { a: new Map() },
    'a Set': { a: [new Set()] },
    'a RegExp': { a: /x/ },
    'an Error': { a: new Error('x') },
    'a typed array': { a: new Float64Array(1) },
    'an object with toJSON': {
      a: new (class {
        toJSON() {
          return 1
        }
      })(),
    },
    'a function': { a: () => 1 },
    'a symbol': { a: Symbol('x') },
    'undefined in an array': { a: [undefined] },
    'a bigint of 65 bits': { a: 2n ** 64n },
    'a negative bigint of 65 bits': { a: -(2n ** 63n) - 1n },
    'a lone surrogate': { a: '\ud800' },
    'a lone surrogate in a key': { '\udfff': 1 },
    __proto__: JSON.parse('{"__proto__": 1}'),
    'a circle': circular,
    '17 levels': { a: deep(16) },
    'a long text with a byte order mark': { a: `\ufeff${'x'.repeat(62)}` },
    'an array': [1],
    'a class of its own': new Map(),
  }
  for (const [name, map] of Object.entries(refused)) {
    t.throws(() => encodeMap(map as Record<string, unknown>), { name: 'LsxError', code: 'INTERNAL' }, name)
  }
  t.strictSame(decodeMap(encodeMap({ a: deep(15) })), { a: deep(15) }, '16 levels')
})

t.test('a byte order mark is kept or refused, never dropped', async (t) => {
  const short = { '\ufeffkey': `\ufeff${'é'.repeat(30)}` }
  t.strictSame(decodeMap(encodeMap(short)), short)
  const packr = new Packr({ useRecords: false })
  t.throws(() => decodeMap(packr.pack({ a: `\ufeff${'é'.repeat(31)}` })), { code: 'FRAME_INVALID' })
  t.throws(() => decodeMap(packr.pack({ [`\ufeff${'x'.repeat(62)}`]: 1 })), { code: 'FRAME_INVALID' })
  const inside = { a: `x\ufeff${'é'.repeat(200)}` }
  t.strictSame(decodeMap(packr.pack(inside)), inside)
})

t.test('bytes that are not exactly one map are FRAME_INVALID', async (t) => {
  for (const bytes of ['', 'c0', '90', '01', 'a161', 'c40180', '8080', '80c0', '81a161', '81a16101ff']) {
    t.throws(() => decodeMap(hex(bytes)), { code: 'FRAME_INVALID', party: 'peer' }, bytes)
  }
  t.strictSame(decodeMap(hex('80')), {})
  t.strictSame(decodeMap(hex('de0000')), {})
  t.strictSame(decodeMap(hex('df00000000')), {})
})

t.test('hostile maps are FRAME_INVALID and leave the prototype alone', async (t) => {
  const proto = Buffer.from('__proto__')
  const hostile: Record<string, Buffer> = {
    __proto__: Buffer.concat([hex('81 a9'), proto, hex('81 a161 01')]),
    '__proto__ inside': Buffer.concat([hex('81 a161 91 81 d909'), proto, hex('81 a161 01')]),
    'duplicate keys': hex('82 a161 01 a161 02'),
    'an extension': hex('81 a161 d4 01 00'),
    'a record definition': hex('81 a161 d4 72 40 91 a162 01'),
    'a huge array': hex('81 a161 dd ffffffff'),
    'a huge map': hex('df ffffffff'),
    'a huge bin': hex('81 a161 c6 ffffffff 00'),
    'invalid UTF-8': hex('81 a161 a1 ff'),
    'a key that is a number': hex('81 01 01'),
  }
  for (const [name, bytes] of Object.entries(hostile)) {
    t.throws(() => decodeMap(bytes), { name: 'LsxError', code: 'FRAME_INVALID' }, name)
  }
  t.equal(({} as Record<string, unknown>).a, undefined)
  t.equal(Object.getPrototypeOf(decodeMap(hex('81 a161 80')).a), Object.prototype)
})

t.test('64 KiB of empty maps does not stall', async (t) => {
  const bytes = Buffer.concat([hex('81 a161 dc ffe0'), Buffer.alloc(0xffe0, 0x80)])
  let bestMs = Number.POSITIVE_INFINITY
  for (let round = 0; round < 50 && bestMs >= STALL_BOUND_MS; round++) {
    const startMs = performance.now()
    t.throws(() => decodeMap(bytes), { code: 'FRAME_INVALID' })
    bestMs = Math.min(bestMs, performance.now() - startMs)
  }
  t.ok(bestMs < STALL_BOUND_MS, `${bestMs.toFixed(2)} ms`)

  const allowed = Buffer.concat([hex('81 a161 dc 0fff'), Buffer.alloc(0x0fff, 0x80)])
  let allowedMs = Number.POSITIVE_INFINITY
  for (let round = 0; round < 50 && allowedMs >= STALL_BOUND_MS; round++) {
    const startMs = performance.now()
    t.equal((decodeMap(allowed).a as unknown[]).length, 4_095)
    allowedMs = Math.min(allowedMs, performance.now() - startMs)
  }
  t.ok(allowedMs < STALL_BOUND_MS)
})

t.test('a decoded bin does not share memory with its input', async (t) => {
  const bytes = encodeMap({ small: Buffer.from('abc'), large: Buffer.alloc(10_000, 7) })
  const decoded = decodeMap(bytes) as { small: Buffer; large: Buffer }
  bytes.fill(0)
  t.ok(Buffer.isBuffer(decoded.small))
  t.equal(decoded.small.toString(), 'abc')
  t.ok(decoded.large.equals(Buffer.alloc(10_000, 7)))
})

t.test('an encoded map survives later ones', async (t) => {
  const first = encodeMap({ a: 'first' })
  const copy = Buffer.from(first)
  for (let round = 0; round < 2_000; round++) encodeMap({ a: 'later', round })
  t.ok(first.equals(copy))
})

t.test('limits are those that the caller gives', async (t) => {
  const bytes = encodeMap({ a: Array.from({ length: 5_000 }, (_, index) => index) })
  t.throws(() => decodeMap(bytes), { code: 'FRAME_INVALID' })
  t.equal((decodeMap(bytes, { maxDepth: 16, maxElements: 65_536 }).a as unknown[]).length, 5_000)
  t.throws(() => decodeMap(encodeMap({ a: [] }), { maxDepth: 1, maxElements: 9 }), { code: 'FRAME_INVALID' })
})

t.test('a map cut at any byte is FRAME_INVALID; one flipped byte gives FRAME_INVALID or a map', async (t) => {
  const bytes = encodeMap({
    command: 'INIT_KX',
    bankCode: '044',
    sessionId: Buffer.alloc(16, 9),
    generation: 2 ** 41,
    body: Buffer.alloc(70),
    terms: { echoIntervalMs: 10_000, list: [1, 'é', null, 1.5, true] },
  })
  for (let length = 0; length < bytes.length; length++) {
    t.throws(() => decodeMap(bytes.subarray(0, length)), { code: 'FRAME_INVALID' }, `cut to ${length}`)
  }
  let decodedCount = 0
  for (let index = 0; index < bytes.length; index++) {
    for (let flip = 1; flip < 256; flip++) {
      const flipped = Buffer.from(bytes)
      flipped[index] = (flipped[index] as number) ^ flip
      const map = decodedOrInvalid(() => decodeMap(flipped))
      if (map === undefined) continue
      decodedCount++
      deepStrictEqual(decodeMap(encodeMap(map)), map)
    }
  }
  t.ok(decodedCount > 0, 'some flips only change a value')
})

t.test('any bytes are a map that encodes again, or FRAME_INVALID', async (t) => {
  const nearMaps = msgpackPieces.map((pieces) => Buffer.concat([hex('81a161'), pieces]))
  fc.assert(
    fc.property(fc.oneof(anyBytes(60), msgpackPieces, nearMaps), (bytes) => {
      const map = decodedOrInvalid(() => decodeMap(bytes))
      if (map === undefined) return true
      deepStrictEqual(decodeMap(encodeMap(map)), map)
      return true
    }),
    { numRuns: 3_000 },
  )
  t.pass('no other error')
})

t.test('meta decodes as a map, absent meta is empty, and its size is bounded', async (t) => {
  t.strictSame(decodeMeta(undefined), {})
  t.strictSame(decodeMeta(encodeMap({ code: 'BUSY' })), { code: 'BUSY' })
  t.throws(() => decodeMeta(hex('c0')), { code: 'FRAME_INVALID' })
  const full = encodeMap({ a: Buffer.alloc(MAX_META_BYTES - 6) })
  t.equal(full.length, MAX_META_BYTES)
  t.equal((decodeMeta(full).a as Buffer).length, MAX_META_BYTES - 6)
  t.throws(() => decodeMeta(encodeMap({ a: Buffer.alloc(MAX_META_BYTES - 5) })), { code: 'FRAME_INVALID' })
})
