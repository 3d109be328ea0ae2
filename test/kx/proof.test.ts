import { createPublicKey, randomBytes, verify } from 'node:crypto'
import t from 'tap'
import {
  checkProof,
  type IdentityProof,
  makeProof,
  type ProofPolicy,
  ProofRole,
  type ProofSubject,
} from '../../lib/kx/proof.ts'
import { encodePoint } from '../support/edwards25519.ts'
import { newIdentity } from '../support/kx-parties.ts'

const NOW_MS = 1_800_000_000_000
const FAILED = { code: 'KX_FAILED' }

function fixture(overrides: Partial<ProofPolicy> = {}) {
  const identity = newIdentity()
  const subject: ProofSubject = {
    role: ProofRole.xchange,
    bankCode: '044',
    sessionId: randomBytes(16),
    staticKey: randomBytes(32),
  }
  const policy: ProofPolicy = { pinnedIdentities: [identity.publicKey], ...overrides }
  return { identity, subject, policy, proof: makeProof(subject, identity, policy, NOW_MS) }
}

t.test('LS-7 the signed bytes are those of the protocol', async (t) => {
  const { identity, subject, proof } = fixture()
  const expected = Buffer.concat([
    Buffer.from('LS-KX-PROOF-1\x02\x00\x03044\x00\x10', 'latin1'),
    subject.sessionId,
    Buffer.from(NOW_MS.toString(16).padStart(16, '0'), 'hex'),
    Buffer.from((NOW_MS + 300_000).toString(16).padStart(16, '0'), 'hex'),
    subject.staticKey,
  ])
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), identity.publicKey])
  t.ok(verify(null, expected, createPublicKey({ key: spki, format: 'der', type: 'spki' }), proof.signature))
})

t.test('LS-7 a proof holds for its own role, bank, session, static key and window only', async (t) => {
  const { subject, policy, proof } = fixture()
  t.doesNotThrow(() => checkProof(proof, subject, policy, NOW_MS))
  const others: Partial<ProofSubject>[] = [
    { role: ProofRole.ls },
    { bankCode: '058' },
    { sessionId: randomBytes(16) },
    { staticKey: randomBytes(32) },
  ]
  for (const other of others) {
    t.throws(() => checkProof(proof, { ...subject, ...other }, policy, NOW_MS), FAILED, Object.keys(other).join())
  }
  const moved: Partial<IdentityProof>[] = [
    { notBefore: proof.notBefore + 1 },
    { notAfter: proof.notAfter + 1 },
    { signature: randomBytes(64) },
  ]
  for (const other of moved) {
    t.throws(() => checkProof({ ...proof, ...other }, subject, policy, NOW_MS), FAILED, Object.keys(other).join())
  }
})

t.test('LS-7 an identity that is not pinned is denied', async (t) => {
  const { subject, proof, policy, identity } = fixture()
  const other = newIdentity()
  const denied = { code: 'IDENTITY_DENIED' }
  t.throws(() => checkProof(proof, subject, { pinnedIdentities: [other.publicKey] }, NOW_MS), denied)
  t.throws(() => checkProof(proof, subject, { pinnedIdentities: [] }, NOW_MS), denied)
  t.throws(() => checkProof({ ...proof, identity: other.publicKey }, subject, policy, NOW_MS), denied)
  const rotating = { pinnedIdentities: [other.publicKey, identity.publicKey] }
  t.doesNotThrow(() => checkProof(proof, subject, rotating, NOW_MS))
  t.doesNotThrow(() => checkProof(makeProof(subject, other, rotating, NOW_MS), subject, rotating, NOW_MS))
})

t.test('a small-order identity is denied even where it is pinned', async (t) => {
  const publicKey = encodePoint(1n, 0n)
  const forger = { publicKey, sign: () => Buffer.concat([publicKey, Buffer.alloc(32)]) }
  const { subject } = fixture()
  const policy = { pinnedIdentities: [publicKey] }
  t.throws(() => checkProof(makeProof(subject, forger, policy, NOW_MS), subject, policy, NOW_MS), {
    code: 'IDENTITY_DENIED',
    message: /small-order/,
  })
})

t.test('the window holds now, give or take the clock skew', async (t) => {
  const { subject, policy, proof } = fixture()
  for (const offsetMs of [-60_000, 0, 300_000, 360_000]) {
    t.doesNotThrow(() => checkProof(proof, subject, policy, NOW_MS + offsetMs), `${offsetMs} ms`)
  }
  for (const offsetMs of [-60_001, 360_001, -86_400_000]) {
    t.throws(
      () => checkProof(proof, subject, policy, NOW_MS + offsetMs),
      { ...FAILED, message: /clocks/ },
      `${offsetMs} ms`,
    )
  }
  const strict = { ...policy, clockSkewMs: 0 }
  t.doesNotThrow(() => checkProof(proof, subject, strict, NOW_MS))
  t.throws(() => checkProof(proof, subject, strict, NOW_MS - 1), FAILED)
})

t.test('a window that is too long or turned around is refused', async (t) => {
  const { subject, policy, identity } = fixture()
  const proofOf = (proofLifetimeMs: number) => makeProof(subject, identity, { ...policy, proofLifetimeMs }, NOW_MS)
  t.doesNotThrow(() => checkProof(proofOf(420_000), subject, policy, NOW_MS))
  t.throws(() => checkProof(proofOf(420_001), subject, policy, NOW_MS), { ...FAILED, message: /window/ })
  t.throws(() => checkProof(proofOf(-1), subject, policy, NOW_MS), { ...FAILED, message: /window/ })
})
