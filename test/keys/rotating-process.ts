import { identityKind, KeyRing, type RotationStep } from '../../lib/keys/index.ts'

/** Rotates the identity at argv[2], and dies as by `kill -9` at the step argv[3]. */
const [file = '', at = ''] = process.argv.slice(2)
const ring = new KeyRing({
  file,
  kind: identityKind,
  overlapMs: 604_800_000,
  onStep: (step: RotationStep) => {
    if (step !== at) return
    process.kill(process.pid, 'SIGKILL')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  },
})
ring.prepare(Date.now())
ring.activate(Date.now())
