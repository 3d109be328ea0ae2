import t from 'tap'
import { BlockReader } from '../../lib/ipc/block-reader.ts'

function readerOf(maxBlockBytes = 1000): { reader: BlockReader; blocks: string[] } {
  const blocks: string[] = []
  const reader = new BlockReader({ maxBlockBytes, receiveBlock: (bytes) => void blocks.push(bytes.toString()) })
  return { reader, blocks }
}

function framed(text: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(Buffer.byteLength(text))
  return Buffer.concat([length, Buffer.from(text)])
}

t.test('blocks arrive whole, several in one chunk', async (t) => {
  const { reader, blocks } = readerOf()
  reader.push(Buffer.concat([framed('one'), framed('two'), framed('three')]))
  t.same(blocks, ['one', 'two', 'three'])
  t.equal(reader.partial, false)
  t.equal(reader.completed, 3)
})

t.test('blocks are the same however the stream is cut', async (t) => {
  const texts = ['a', 'bb', 'x'.repeat(700), 'end']
  const stream = Buffer.concat(texts.map(framed))
  for (let size = 1; size <= stream.length; size++) {
    const { reader, blocks } = readerOf()
    for (let offset = 0; offset < stream.length; offset += size) reader.push(stream.subarray(offset, offset + size))
    if (blocks.join() !== texts.join()) t.fail(`cut into ${size} bytes`)
    if (reader.partial) t.fail(`something is left over when cut into ${size} bytes`)
  }
  for (let cut = 0; cut <= stream.length; cut++) {
    const { reader, blocks } = readerOf()
    reader.push(stream.subarray(0, cut))
    reader.push(stream.subarray(cut))
    if (blocks.join() !== texts.join()) t.fail(`cut at ${cut}`)
  }
  t.pass('every cut gave the same blocks')
})

t.test('a length over the limit is refused before the block arrives', async (t) => {
  t.throws(() => readerOf().reader.push(Buffer.from([0, 0, 0x03, 0xe9])), { code: 'TOO_LARGE' })
  const { reader, blocks } = readerOf()
  reader.push(framed('y'.repeat(1000)))
  t.equal(blocks.length, 1, 'a block of exactly the limit passes')
  const late = readerOf().reader
  late.push(Buffer.from([0xff, 0xff]))
  t.throws(() => late.push(Buffer.from([0xff, 0xff])), { code: 'TOO_LARGE' }, 'also when the length comes in parts')
})

t.test('an empty block is refused', async (t) => {
  t.throws(() => readerOf().reader.push(Buffer.alloc(4)), { code: 'BAD_REQUEST' })
})

t.test('partial tells whether a block has begun', async (t) => {
  const { reader } = readerOf()
  t.equal(reader.partial, false)
  reader.push(framed('abc').subarray(0, 2))
  t.equal(reader.partial, true)
  reader.push(framed('abc').subarray(2))
  t.equal(reader.partial, false)
})
