import fc from 'fast-check'
import { Packr } from 'msgpackr'
import t from 'tap'
import { DEFAULT_SCAN_LIMITS, encodeMap, scanValue } from '../../lib/frames/index.ts'
import { anyBytes, decodedOrInvalid, msgpackPieces, plainMap } from '../support/frame-arbitraries.ts'

/** The longest that 64 KiB from a peer may hold up the loop. */
const STALL_BOUND_MS = 20

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const repeated = (header: string, piece: string, count: number): Buffer =>
  Buffer.concat([hex(header), Buffer.alloc((count * piece.length) / 2, hex(piece))])

t.test('every format ends where it says', async (t) => {
  const text = (length: number) => Buffer.alloc(length, 'x')
  const values: Record<string, Buffer> = {
    'positive fixint': hex('7f'),
    'negative fixint': hex('e0'),
    nil: hex('c0'),
    false: hex('c2'),
    true: hex('c3'),
    float32: hex('ca 3f800000'),
    float64: hex('cb 3ff0000000000000'),
    uint8: hex('cc ff'),
    uint16: hex('cd ffff'),
    uint32: hex('ce ffffffff'),
    uint64: hex('cf ffffffffffffffff'),
    int8: hex('d0 80'),
    int16: hex('d1 8000'),
    int32: hex('d2 80000000'),
    int64: hex('d3 8000000000000000'),
    fixstr: Buffer.concat([hex('bf'), text(31)]),
    'empty fixstr': hex('a0'),
    str8: Buffer.concat([hex('d9 ff'), text(255)]),
    str16: Buffer.concat([hex('da 0100'), text(256)]),
    str32: Buffer.concat([hex('db 00010000'), text(65_536)]),
    bin8: Buffer.concat([hex('c4 03'), text(3)]),
    bin16: Buffer.concat([hex('c5 0003'), text(3)]),
    bin32: Buffer.concat([hex('c6 00000003'), text(3)]),
    fixarray: hex('93 01 a0 c0'),
    array16: hex('dc 0002 01 02'),
    array32: hex('dd 00000002 01 02'),
    fixmap: hex('82 a161 01 a162 90'),
    map16: hex('de 0001 a161 80'),
    map32: hex('df 00000001 d90161 c3'),
  }
  for (const [name, value] of Object.entries(values)) {
    t.equal(scanValue(value, 0), value.length, name)
    const inside = Buffer.concat([hex('c1c1'), value, hex('c1')])
    t.equal(scanValue(inside, 2), 2 + value.length, `${name} between other bytes`)
    for (const length of new Set([0, 1, 2, value.length - 2, value.length - 1])) {
      if (length < 0 || length >= value.length) continue
      t.throws(() => scanValue(value.subarray(0, length), 0), { code: 'FRAME_INVALID' }, `${name} cut to ${length}`)
    }
  }
})

t.test('what msgpackr would take and a peer may not send is refused', async (t) => {
  const refused: Record<string, Buffer> = {
    'fixext 1': hex('d4 01 00'),
    'fixext 2': hex('d5 01 0000'),
    'fixext 4, a timestamp': hex('d6 ff 00000000'),
    'fixext 8': hex('d7 01 0000000000000000'),
    'fixext 16': Buffer.concat([hex('d8 01'), Buffer.alloc(16)]),
    'ext 8': hex('c7 01 01 00'),
    'ext 16': hex('c8 0001 01 00'),
    'ext 32': hex('c9 00000001 01 00'),
    'a record definition': hex('d4 72 40 91 a161 01'),
    'a two-byte record definition': hex('d5 72 40 01 91 a161 01'),
    undefined: hex('d4 00 00'),
    'an extension deep inside': hex('81 a161 91 81 a162 d4 78 00'),
    'a Set': new Packr({ moreTypes: true }).pack(new Set([1])),
    'a RegExp': new Packr({ moreTypes: true }).pack(/x/),
    'an Error': new Packr({ moreTypes: true }).pack(new Error('x')),
    'typed arrays': new Packr({ moreTypes: true }).pack(new Float64Array(2)),
    'a Date': new Packr({}).pack(new Date(0)),
    'bundled strings': new Packr({ bundleStrings: true }).pack({ a: 'a long string', b: 'another long string' }),
    'a record': new Packr({ useRecords: true }).pack({ a: 1, b: 2 }),
    'the reserved byte': hex('c1'),
    'the reserved byte inside': hex('92 01 c1'),
    'duplicate keys': hex('82 a161 01 a161 02'),
    'duplicate keys in different formats': hex('82 a161 01 d90161 02'),
    'duplicate empty keys': hex('82 a0 01 a0 02'),
    'duplicate keys around a map': hex('83 a161 81 a162 01 a163 01 a161 02'),
    'duplicate keys in a large map': Buffer.concat([
      hex('de 000b'),
      ...Array.from({ length: 10 }, (_, index) => Buffer.from([0xa1, 0x61 + index, 1])),
      hex('a161 02'),
    ]),
    'duplicate keys deep inside': hex('91 81 a161 82 a162 01 a162 01'),
    'an integer key': hex('81 01 01'),
    'a nil key': hex('81 c0 01'),
    'a bin key': hex('81 c40161 01'),
    'an array key': hex('81 90 01'),
    __proto__: Buffer.concat([hex('81 a9'), Buffer.from('__proto__'), hex('80')]),
    '__proto__ as str 8 deep inside': Buffer.concat([hex('91 81 d909'), Buffer.from('__proto__'), hex('80')]),
    'a lone continuation byte': hex('a1 80'),
    'an overlong encoding': hex('a2 c0af'),
    'a surrogate': hex('a3 eda080'),
    'a code point above U+10FFFF': hex('a4 f4908080'),
    'a character cut short': hex('a1 c3'),
    'invalid UTF-8 in a key': hex('81 a1ff 01'),
    'invalid UTF-8 in a long string': Buffer.concat([hex('da 0100'), Buffer.alloc(255, 'x'), hex('ff')]),
    'a huge array': hex('dd ffffffff'),
    'a huge map': hex('df ffffffff a161'),
    'a huge string': hex('db ffffffff 61'),
    'a huge bin': hex('c6 ffffffff 61'),
    'huge arrays inside one another': repeated('', 'ddffffffff', 1_000),
    nothing: Buffer.alloc(0),
  }
  for (const [name, bytes] of Object.entries(refused)) {
    t.throws(() => scanValue(bytes, 0), { code: 'FRAME_INVALID', party: 'peer' }, name)
  }
})

t.test('keys that are alike and not equal are allowed', async (t) => {
  for (const bytes of [
    hex('82 a161 81 a161 01 a162 81 a161 01'),
    hex('82 a16101 a26161 01'),
    hex('82 a0 01 a100 01'),
    Buffer.concat([hex('81 a8'), Buffer.from('__proto_'), hex('80')]),
  ]) {
    t.equal(scanValue(bytes, 0), bytes.length, bytes.toString('hex'))
  }
})

t.test('depth and elements have exact bounds', async (t) => {
  const nested = (levels: number) => Buffer.concat([Buffer.alloc(levels, 0x91), hex('c0')])
  const { maxDepth, maxElements } = DEFAULT_SCAN_LIMITS
  t.equal(scanValue(nested(maxDepth), 0), maxDepth + 1)
  t.throws(() => scanValue(nested(maxDepth + 1), 0), { code: 'FRAME_INVALID' })
  t.throws(() => scanValue(nested(60_000), 0), { code: 'FRAME_INVALID' })
  t.equal(scanValue(nested(3), 0, { maxDepth: 3, maxElements: 100 }), 4)
  t.throws(() => scanValue(nested(4), 0, { maxDepth: 3, maxElements: 100 }), { code: 'FRAME_INVALID' })

  const full = repeated('dc 1000', 'c0', maxElements)
  t.equal(scanValue(full, 0), full.length)
  t.throws(() => scanValue(repeated('dc 1001', 'c0', maxElements + 1), 0), { code: 'FRAME_INVALID' })
  t.equal(scanValue(hex('93 01 81a16101 90'), 0, { maxDepth: 16, maxElements: 4 }), 7, 'members and entries count')
  t.throws(() => scanValue(hex('93 01 81a16101 90'), 0, { maxDepth: 16, maxElements: 3 }), { code: 'FRAME_INVALID' })
})

t.test('64 KiB of anything is scanned or refused without a stall', async (t) => {
  const wide = { maxDepth: 16, maxElements: 65_536 }
  const shapes: Record<string, Buffer> = {
    'empty maps': repeated('dc ffff', '80', 65_535),
    'empty arrays': repeated('dc ffff', '90', 65_535),
    'short strings': repeated('dc 8000', 'a161', 32_768),
    'short strings beyond ASCII': repeated('dc 5500', 'a2c3a9', 0x5500),
    'maps of one entry': repeated('dc 4000', '81a161c0', 0x4000),
    'maps of eight entries': repeated('dc 0a00', '88a161c0a162c0a163c0a164c0a165c0a166c0a167c0a168c0', 0x0a00),
    'arrays inside one another': Buffer.alloc(65_536, 0x91),
    'maps inside one another': repeated('', '81a161', 21_845),
    'a map of many keys': Buffer.concat([
      hex('de 4000'),
      ...Array.from({ length: 0x4000 }, (_, index) => Buffer.from([0xa2, index >> 7, index & 0x7f, 0xc0])),
    ]),
    'long keys that differ at the end': Buffer.concat([
      hex('88'),
      ...Array.from({ length: 8 }, (_, index) =>
        Buffer.concat([hex('da 1fe0'), Buffer.alloc(0x1fdf, 'k'), Buffer.from([0x61 + index, 0xc0])]),
      ),
    ]),
  }
  for (const [name, bytes] of Object.entries(shapes)) {
    for (const limits of [DEFAULT_SCAN_LIMITS, wide]) {
      let bestMs = Number.POSITIVE_INFINITY
      for (let round = 0; round < 50 && bestMs >= STALL_BOUND_MS; round++) {
        const startMs = performance.now()
        decodedOrInvalid(() => scanValue(bytes, 0, limits))
        bestMs = Math.min(bestMs, performance.now() - startMs)
      }
      t.ok(bestMs < STALL_BOUND_MS, `${name}, ${limits.maxElements} elements: ${bestMs.toFixed(2)} ms`)
    }
  }
})

t.test('a valid value is scanned whole, and refused when cut at any byte', async (t) => {
  fc.assert(
    fc.property(plainMap, (map) => {
      const bytes = encodeMap(map)
      if (scanValue(bytes, 0) !== bytes.length) return false
      for (let length = 0; length < bytes.length; length++) {
        if (decodedOrInvalid(() => scanValue(bytes.subarray(0, length), 0)) !== undefined) return false
      }
      return true
    }),
    { numRuns: 60 },
  )
  t.pass('exact ends')
})

t.test('any bytes have an end inside them, or are FRAME_INVALID', async (t) => {
  fc.assert(
    fc.property(fc.oneof(anyBytes(80), msgpackPieces), fc.nat(4), (bytes, start) => {
      const end = decodedOrInvalid(() => scanValue(bytes, start))
      return end === undefined || (end > start && end <= bytes.length)
    }),
    { numRuns: 3_000 },
  )
  t.pass('no other error')
})
