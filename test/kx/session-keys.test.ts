import { randomBytes } from 'node:crypto'
import t from 'tap'
import { FrameType, LARGEST_MAX_FRAME_BYTES, readHeader } from '../../lib/frames/index.ts'
import { KEY_HARD_STOP_FRAMES, KEY_HARD_STOP_MS } from '../../lib/kx/constants.ts'
import { OpeningKey, SealingKey } from '../../lib/kx/session-keys.ts'

function newPair(options: { firstSequence?: number } = {}): { seal: SealingKey; open: OpeningKey } {
  const key = randomBytes(32)
  const { firstSequence = 0 } = options
  return { seal: new SealingKey(key, 3, firstSequence, 1_000), open: new OpeningKey(key, 3, firstSequence, 1_000) }
}

const INVALID = { code: 'FRAME_INVALID' }
const DEFECT = { code: 'INTERNAL' }

t.test('LS-8 frames pass in order, numbered and counted', async (t) => {
  const { seal, open } = newPair()
  let bytes = 0
  for (const [index, length] of [0, 1, 15, 16, 17, 4_096, 65_508].entries()) {
    const plaintext = randomBytes(length)
    const frame = seal.seal(FrameType.request, plaintext, 1_000)
    bytes += frame.length
    t.equal(frame.length, 12 + length + 16)
    t.same(readHeader(frame), { type: FrameType.request, epoch: 3, sequence: index })
    t.same(open.open(frame, 1_000), plaintext)
  }
  t.equal(seal.framesSealed, 7)
  t.equal(seal.bytesSealed, bytes)
  t.equal(open.framesOpened, 7)
  t.equal(open.bytesOpened, bytes)
})

t.test('a first sequence out of bounds is refused', async (t) => {
  t.throws(() => new SealingKey(randomBytes(32), 1, -1, 0), DEFECT)
  t.throws(() => new OpeningKey(randomBytes(32), 1, 2 ** 53, 0), DEFECT)
})

t.test('every flipped bit of a frame is found, and the key is dead from then on', async (t) => {
  const key = randomBytes(32)
  const frame = new SealingKey(key, 1, 0, 0).seal(FrameType.response, randomBytes(20), 0)
  const survivors: number[] = []
  for (let bit = 0; bit < frame.length * 8; bit++) {
    const flipped = Buffer.from(frame)
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    const open = new OpeningKey(key, 1, 0, 0)
    if (!throwsInvalid(() => open.open(flipped, 0)) || !throwsInvalid(() => open.open(frame, 0))) survivors.push(bit)
  }
  t.same(survivors, [])
})

function throwsInvalid(open: () => Buffer): boolean {
  try {
    open()
    return false
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'FRAME_INVALID'
  }
}

t.test('a frame cut anywhere, or with bytes after it, is found', async (t) => {
  const key = randomBytes(32)
  const frame = new SealingKey(key, 1, 0, 0).seal(FrameType.response, randomBytes(20), 0)
  for (let length = 0; length < frame.length; length++) {
    t.throws(() => new OpeningKey(key, 1, 0, 0).open(frame.subarray(0, length), 0), INVALID, `${length} bytes`)
  }
  t.throws(() => new OpeningKey(key, 1, 0, 0).open(Buffer.concat([frame, Buffer.of(0)]), 0), INVALID)
  t.throws(() => new OpeningKey(key, 1, 0, 0).open(Buffer.alloc(LARGEST_MAX_FRAME_BYTES + 1), 0), INVALID)
})

t.test('a replayed, skipped or older frame is refused', async (t) => {
  const replay = newPair()
  const first = replay.seal.seal(FrameType.request, Buffer.from('first'), 1_000)
  replay.open.open(first, 1_000)
  t.throws(() => replay.open.open(first, 1_000), INVALID, 'replay')

  const skip = newPair()
  const skipped = skip.seal.seal(FrameType.request, Buffer.from('skipped'), 1_000)
  const next = skip.seal.seal(FrameType.request, Buffer.from('next'), 1_000)
  t.throws(() => skip.open.open(next, 1_000), INVALID, 'skip')
  t.throws(() => skip.open.open(skipped, 1_000), INVALID, 'dead after a skip')
})

t.test('a frame of another epoch, direction or session is refused', async (t) => {
  const key = randomBytes(32)
  const plaintext = Buffer.from('plaintext')
  t.throws(() => new OpeningKey(key, 2, 0, 0).open(new SealingKey(key, 1, 0, 0).seal(2, plaintext, 0), 0), INVALID)
  t.throws(() => newPair().open.open(newPair().seal.seal(2, plaintext, 1_000), 1_000), INVALID)
})

t.test('the hard stop by time ends both keys for good', async (t) => {
  const { seal, open } = newPair()
  const lastMs = 1_000 + KEY_HARD_STOP_MS - 1
  t.same(open.open(seal.seal(FrameType.request, Buffer.from('last'), lastMs), lastMs), Buffer.from('last'))
  const frame = seal.seal(FrameType.request, Buffer.from('late'), lastMs)
  t.throws(() => seal.seal(FrameType.request, Buffer.from('no'), lastMs + 1), DEFECT)
  t.throws(() => seal.seal(FrameType.request, Buffer.from('no'), lastMs), DEFECT, 'dead')
  t.throws(() => open.open(frame, lastMs + 1), INVALID)
  t.throws(() => open.open(frame, lastMs), INVALID, 'dead')
})

t.test('the hard stop by frames ends both keys for good', async (t) => {
  const { seal, open } = newPair({ firstSequence: KEY_HARD_STOP_FRAMES - 1 })
  t.same(open.open(seal.seal(FrameType.request, Buffer.from('last'), 1_000), 1_000), Buffer.from('last'))
  t.throws(() => seal.seal(FrameType.request, Buffer.from('no'), 1_000), DEFECT)

  const key = randomBytes(32)
  const atStop = new OpeningKey(key, 3, KEY_HARD_STOP_FRAMES, 1_000)
  t.throws(() => atStop.open(newPair().seal.seal(FrameType.request, Buffer.from('no'), 1_000), 1_000), {
    ...INVALID,
    message: /hard stop/,
  })
})

t.test('a destroyed key seals and opens nothing', async (t) => {
  const { seal, open } = newPair()
  const frame = seal.seal(FrameType.request, Buffer.from('before'), 1_000)
  seal.destroy()
  seal.destroy()
  open.destroy()
  open.destroy()
  t.throws(() => seal.seal(FrameType.request, Buffer.from('after'), 1_000), DEFECT)
  t.throws(() => open.open(frame, 1_000), INVALID)
})

t.test('the keys hold their own copy', async (t) => {
  const key = randomBytes(32)
  const seal = new SealingKey(key, 1, 0, 0)
  const open = new OpeningKey(key, 1, 0, 0)
  key.fill(0)
  const frame = seal.seal(FrameType.echo, Buffer.from('echo'), 0)
  t.same(open.open(frame, 0), Buffer.from('echo'))
  t.throws(() => new OpeningKey(key, 1, 0, 0).open(frame, 0), INVALID, 'not with the zeroed key')
})

t.test('an oversized frame is refused and costs no sequence', async (t) => {
  const { seal, open } = newPair()
  t.throws(() => seal.seal(FrameType.request, Buffer.alloc(LARGEST_MAX_FRAME_BYTES - 27), 1_000), { code: 'TOO_LARGE' })
  const largest = seal.seal(FrameType.request, Buffer.alloc(LARGEST_MAX_FRAME_BYTES - 28), 1_000)
  t.equal(open.open(largest, 1_000).length, LARGEST_MAX_FRAME_BYTES - 28)
})

t.test('keys and epochs out of bounds are refused', async (t) => {
  for (const length of [0, 16, 31, 33]) t.throws(() => new SealingKey(randomBytes(length), 1, 0, 0), DEFECT)
  for (const epoch of [0, -1, 1.5, 65_536]) t.throws(() => new OpeningKey(randomBytes(32), epoch, 0, 0), DEFECT)
})
