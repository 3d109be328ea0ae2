import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import type { FlipFigures } from '../../chaos/flip-run.ts'
import { projectRoot } from '../support/project.ts'

const MAIN = join(projectRoot, 'dist', 'chaos', 'flip-main.js')
/** A machine under load takes long to start daemons. */
const STALL_MS = 110_000

t.setTimeout(STALL_MS + 5_000)

t.test('BEY-2 with a flipped bit in its store neither daemon answers wrongly', async (t) => {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [MAIN, '--flips', '6', '--json'], {
    timeout: STALL_MS,
  })
  t.equal(stderr, '')
  const { flips, keys, found, unused, wrong, wrongTrials } = JSON.parse(stdout) as FlipFigures
  t.equal(flips, 6)
  t.ok(keys > 100, 'all of them are asked again after each flip')
  t.equal(found + unused, flips)
  t.equal(wrong, 0)
  t.same(wrongTrials, [])
})
