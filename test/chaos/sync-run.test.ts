import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { syncDelayProblem } from '../../chaos/capabilities.ts'
import type { SyncFigures } from '../../chaos/sync-run.ts'
import { projectRoot } from '../support/project.ts'

const MAIN = join(projectRoot, 'dist', 'chaos', 'sync-main.js')
/** A machine under load takes long to start daemons. */
const STALL_MS = 110_000

t.setTimeout(STALL_MS + 5_000)

async function runSyncs(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    const output = await promisify(execFile)(process.execPath, [MAIN, ...args], { timeout: STALL_MS })
    return { code: 0, ...output }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

t.test('BEY-2 no answer leaves before what it stands on is on disk', async (t) => {
  const { code, stdout, stderr } = await runSyncs(['--delay-ms', '200', '--requests', '3', '--json'])
  const problem = syncDelayProblem()
  if (problem !== undefined) {
    t.equal(code, 77)
    t.match(stderr, 'syncs cannot be held up on this machine', 'without strace it says so and claims nothing')
    return
  }
  t.equal(stderr, '')
  t.equal(code, 0)
  const { tooEarly, ls, xchange } = JSON.parse(stdout) as SyncFigures
  t.equal(tooEarly, 0)
  t.ok(ls.durableMinMs >= 200, "a durable request waits for LS's journal")
  t.ok(xchange.plainMinMs >= 400, 'every request waits for the node twice: begun, and its response')
})
