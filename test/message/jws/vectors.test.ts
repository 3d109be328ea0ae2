import t from 'tap'
import { RequestBatch, ResponseBatch, ResponseStatus } from '../../../lib/frames/index.ts'
import { LsSigning, VerificationCache, XchangeSigning } from '../../../lib/message/jws/index.ts'
import { merkleTree, rootOf } from '../../../lib/message/jws/merkle.ts'
import { messageVectors } from '../../support/message-vectors.ts'
import { readProjectFile } from '../../support/project.ts'
import { ed25519FromSeed, keysOf, seededKeyOf, verificationKey } from '../../support/signing-keys.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

type Vectors = ReturnType<typeof messageVectors>

const vectors = JSON.parse(readProjectFile('test/vectors/message-signatures.json')) as Vectors
const hex = (text: string | undefined) => Buffer.from(text ?? '', 'hex')
const latin1 = (text: string | undefined) => hex(text).toString('latin1')

t.test('BEY-9 the vectors are what the protocol says, computed without our code', async (t) => {
  t.strictSame(vectors, JSON.parse(JSON.stringify(messageVectors())))
})

t.test('BEY-6 the trees of the vectors', async (t) => {
  for (const { leaves, root, paths } of vectors.trees) {
    const tree = merkleTree(leaves.map(latin1))
    t.equal(tree.root, latin1(root), `root of ${leaves.length}`)
    for (const [index, path] of paths.entries()) {
      const joined = path.map(latin1).join('')
      t.equal(tree.pathOf(index), joined)
      t.equal(rootOf(latin1(leaves[index]), index, leaves.length, joined), latin1(root))
    }
  }
})

function parties() {
  const clock = new VirtualClock(vectors.batches[0]?.timeMs ?? 0)
  const [ls, bank] = vectors.keys.map(({ party, seed }) => seededKeyOf(party, ed25519FromSeed(hex(seed))))
  if (ls === undefined || bank === undefined) throw new Error('the vectors have two keys')
  const keys = keysOf(verificationKey(ls), verificationKey(bank))
  const cache = new VerificationCache({ clock })
  const options = { bankCode: '044', policy: 'required', keys, cache, clock } as const
  return { ls, bank, options }
}

for (const mode of ['batch', 'each'] as const) {
  t.test(`SEC-3 BEY-6 we sign as the vectors do, and take what they signed, mode ${mode}`, async (t) => {
    const { ls, bank, options } = parties()
    for (const vector of mode === 'batch' ? vectors.batches : vectors.each) {
      const sessionId = hex(vector.sessionId)
      const lsSigning = new LsSigning<{ key: string; method: string; signed: undefined }>({
        ...options,
        mode,
        key: () => ls,
      })
      const xchangeSigning = new XchangeSigning({ ...options, mode, key: () => bank, lsParty: 'ls' })
      const entriesAsMeta = (entries: string) =>
        entries === '' ? undefined : Buffer.concat([Buffer.from([0x81]), hex(entries)])
      if (vector.direction === 1) {
        const batch = lsSigning.newBatch(65_508, () => sessionId)
        const expected = new RequestBatch(65_508)
        const records = vector.messages.map((message) => ({
          id: message.id,
          key: message.key,
          method: message.method,
          budgetMs: message.detail,
          payload: hex(message.payload),
        }))
        for (const [index, message] of vector.messages.entries()) {
          const record = records[index]
          if (record === undefined) throw new Error('a record for each message')
          const origin = { key: message.key, method: message.method, signed: undefined }
          batch.append({ ...record, meta: entriesAsMeta(message.metaEntries), origin })
          expected.append({ ...record, meta: hex(message.meta) })
        }
        t.equal(batch.take().toString('hex'), expected.take().toString('hex'))
        const received = records.map((record, index) => ({ ...record, meta: hex(vector.messages[index]?.meta) }))
        const verdicts = xchangeSigning.verify(received, sessionId)
        t.ok(verdicts.every(({ error }) => error === undefined))
        t.strictSame(
          verdicts.map(({ answered }) => answered.messageHash),
          vector.messages.map(({ hash }) => latin1(hash)),
        )
      } else {
        const batch = xchangeSigning.newBatch(65_508, () => sessionId)
        const expected = new ResponseBatch(65_508)
        const answers = vector.messages.map((message) => {
          const { id, key, method } = message
          const status = message.detail === 2 ? ResponseStatus.refused : ResponseStatus.ok
          const payload = hex(message.payload)
          const answered = { key, method, messageHash: latin1(message.requestHash) }
          batch.append({ id, status, payload, meta: entriesAsMeta(message.metaEntries), answered })
          const response = { id, status, payload, meta: hex(message.meta) }
          expected.append(response)
          const sent = {
            hash: answered.messageHash,
            party: 'ls',
            keyId: '',
            timeMs: 0,
            evidence: undefined,
            recordId: id,
          }
          return { response, request: { key, method, signed: [sent] } }
        })
        t.equal(batch.take().toString('hex'), expected.take().toString('hex'))
        const verifier = new LsSigning({ ...options, mode, key: () => ls })
        t.ok(verifier.verify(answers, sessionId).every(({ error }) => error === undefined))
      }
    }
  })
}
