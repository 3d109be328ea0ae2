import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { figuresOf, type RecoveryFigures } from '../../chaos/recovery-run.ts'
import { projectRoot } from '../support/project.ts'

const MAIN = join(projectRoot, 'dist', 'chaos', 'recovery-main.js')
/** A machine under load takes long to start daemons. */
const STALL_MS = 110_000

t.setTimeout(STALL_MS + 5_000)

t.test('the figures of each bank and of all', async (t) => {
  const recoveries = Array.from({ length: 100 }, (_, index) => ({
    bankCode: index % 2 === 0 ? ('044' as const) : ('058' as const),
    listeningMs: 1_000,
    answeredMs: 1_000 + index,
  }))
  const { kills, fromListening, fromKill } = figuresOf(recoveries)
  t.equal(kills, 100)
  t.same(fromListening.all, { p50Ms: 49, p99Ms: 98, maxMs: 99 })
  t.same(fromListening['044'], { p50Ms: 48, p99Ms: 98, maxMs: 98 })
  t.same(fromKill['058'], { p50Ms: 1_049, p99Ms: 1_099, maxMs: 1_099 })
})

t.test('LS-13 a request that waits at LS is answered by the node that takes the place of a killed one', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [MAIN, '--kills', '1', '--json'], {
    timeout: STALL_MS,
  })
  const { kills, fromListening, fromKill } = JSON.parse(stdout) as RecoveryFigures
  t.equal(kills, 2)
  for (const bank of ['044', '058'] as const)
    t.ok(fromKill[bank].maxMs > fromListening[bank].maxMs, `${bank}: the kill, the listening, the answer`)
})
