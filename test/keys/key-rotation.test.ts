import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createIdentityFile } from '../../lib/certs/index.ts'
import { identityKind, KeyRing, KeyRotation, type RotatedRing } from '../../lib/keys/index.ts'
import { recordingLogger } from '../support/channel-log.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const DAY_MS = 86_400_000

function rotationOf(t: Test, options: Partial<RotatedRing> = {}) {
  const clock = new VirtualClock(Date.now())
  const file = join(t.testdir({}), 'identity.key')
  createIdentityFile(file)
  const ring = new KeyRing({ file, kind: identityKind, overlapMs: 7 * DAY_MS })
  const log = recordingLogger()
  const warnings = () => log.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)
  const activated: string[] = []
  const rotation = new KeyRotation({
    rings: [
      {
        ring,
        rotateAfterMs: 30 * DAY_MS,
        isAutomatic: false,
        aheadMs: 0,
        onActivated: () => void activated.push(ring.look()[0]?.keyId ?? ''),
        ...options,
      },
    ],
    clock,
    logger: log,
    checkEveryMs: DAY_MS / 4,
  })
  t.teardown(() => rotation.stop())
  return { clock, ring, warnings, rotation, activated }
}

t.test('SEC-10 what is due is said once a day, and waits for somebody', async (t) => {
  const { clock, rotation, warnings, activated } = rotationOf(t)
  await rotation.start()
  await clock.advance(29 * DAY_MS)
  t.strictSame([rotation.due, warnings().length], [[], 0])
  await clock.advance(3 * DAY_MS)
  t.strictSame(rotation.due, ['identity'])
  t.match(warnings()[0], /due for rotation: lsctl keys rotate --kind identity/)
  t.ok(warnings().length >= 2 && warnings().length <= 3)
  t.match(rotation.status(), [{ state: 'active', isDue: true, ageDays: Number }])
  t.strictSame(activated, [])
  await rotation.rotate({ kind: 'identity', act: 'activate' })
  await clock.advance(DAY_MS)
  t.strictSame([rotation.due, activated.length], [[], 1])
})

t.test('SEC-10 what is safe to rotate is rotated by schedule, announced ahead, and cleared away', async (t) => {
  const { clock, ring, rotation, activated } = rotationOf(t, { isAutomatic: true, aheadMs: DAY_MS })
  await rotation.start()
  const [first] = ring.look()
  await clock.advance(29.3 * DAY_MS)
  t.match(ring.look(), [{ keyId: first?.keyId, state: 'active' }, { state: 'next' }], 'published a day ahead')
  await clock.advance(1.3 * DAY_MS)
  t.match(ring.look(), [{ state: 'active' }, { keyId: first?.keyId, state: 'retired' }])
  t.equal(activated.length, 1)
  await clock.advance(8 * DAY_MS)
  t.equal(ring.look().length, 1, 'the old one goes at the end of the overlap')
})

t.test('SEC-10 a rotation that was planned happens at its time, also after a restart', async (t) => {
  const { clock, ring, rotation, activated } = rotationOf(t)
  await rotation.start()
  await rotation.rotate({ kind: 'identity', act: 'prepare', atMs: clock.nowMs() + 2 * DAY_MS })
  await clock.advance(DAY_MS)
  t.match(rotation.status(), [{ state: 'active' }, { state: 'next', activeFrom: String }])
  await rotation.stop()
  await clock.advance(3 * DAY_MS)
  t.strictSame(activated, [])
  const again = new KeyRotation({
    rings: [{ ring, rotateAfterMs: 30 * DAY_MS, isAutomatic: false, aheadMs: 0, onActivated: () => {} }],
    clock,
    logger: recordingLogger(),
  })
  t.teardown(() => again.stop())
  await again.start()
  t.match(ring.look(), [{ state: 'active' }, { state: 'retired' }])
  await t.rejects(again.rotate({ kind: 'jws', act: 'activate' }), { code: 'BAD_REQUEST' })
})
