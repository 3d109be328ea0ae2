import { Unpackr } from 'msgpackr'
import t from 'tap'
import { MessageWriter } from '../../lib/ipc/message-writer.ts'
import { blocksOf } from './raw-client.ts'

const unpackr = new Unpackr({ useRecords: false })

t.test('what is written is what msgpackr reads', async (t) => {
  const sent = {
    text: 'x'.repeat(31),
    text32: 'x'.repeat(32),
    umlaut: 'ü'.repeat(40),
    text256: 'ü'.repeat(128),
    text65536: 'y'.repeat(65_536),
    small: 127,
    u8: 128,
    u16: 256,
    u32: 65_536,
    yes: true,
    bytes: Buffer.alloc(300, 7),
    nested: { list: [1, 'two', { three: 3.5 }] },
    negative: -5,
    none: null,
    bytes65536: Buffer.alloc(65_536, 7),
  }
  const writer = new MessageWriter(0)
  t.equal(writer.appendMessage(sent), writer.byteLength)
  t.same(unpackr.unpack(writer.take(writer.byteLength)), sent)
  writer.appendMessage({ kept: 1, absent: undefined })
  t.same(unpackr.unpack(writer.take(writer.byteLength)), { kept: 1 }, 'undefined fields are left out')
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`field${index}`, index]))
  writer.appendMessage(many)
  t.same(unpackr.unpack(writer.take(writer.byteLength)), many)
})

t.test('a batch can be taken in parts, and taken back', async (t) => {
  const writer = new MessageWriter(4)
  const first = writer.appendMessage({ id: 1 })
  writer.appendMessage({ id: 2 })
  t.same(unpackr.unpack(writer.take(first).subarray(4)), { id: 1 })
  t.same(unpackr.unpack(writer.take(writer.byteLength).subarray(4)), { id: 2 })
  writer.appendMessage({ id: 3 })
  const kept = writer.byteLength
  writer.appendBytes(Buffer.alloc(200_000))
  writer.rewind(kept)
  t.throws(() => writer.appendMessage({ id: 4, at: new Date() }), { code: 'INTERNAL' }, 'a value that is not plain')
  const batch = writer.take(writer.byteLength)
  batch.writeUInt32BE(batch.length - 4)
  t.strictSame(blocksOf(batch), [[{ id: 3 }]], 'leaves nothing behind')
  t.equal(writer.byteLength, 0)
})
