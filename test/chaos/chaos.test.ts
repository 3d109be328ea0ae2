import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import t from 'tap'
import { projectRoot } from '../support/project.ts'

const MAIN = join(projectRoot, 'dist', 'chaos', 'main.js')
/** A machine under load takes long to start daemons; the run itself is 15 s. */
const STALL_MS = 110_000

t.setTimeout(STALL_MS + 5_000)

/** No disks are mounted and nothing is traced: a test must leave nothing behind even when it is killed. */
const KINDS =
  'kill,failpoint,drain,stop,latency,trickle,slow-reader,black-hole,cut,reset,rekey-storm,clock-jump,app-kill,app-stop'

t.test('BEY-2 nothing is lost and nothing done twice while everything breaks', async (t) => {
  const options = ['--seconds', '15', '--seed', 'test-1', '--only', KINDS, '--apps', '2', '--json']
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [MAIN, ...options], {
    timeout: STALL_MS,
  }).catch((error: { stdout: string; stderr: string }) => error)
  t.equal(stderr, '', 'no key offends')
  const figures = JSON.parse(stdout) as Record<string, number> & { problems: string[] }
  t.match(figures, { lost: 0, duplicated: 0, disagreed: 0, problems: [], seed: 'test-1', seconds: 15 })
  const { accepted = 0, answered = 0, refused = 0, notSent = 0, inDoubt = 0, executed = 0, kills = 0 } = figures
  t.equal(answered + refused + notSent + inDoubt, accepted, 'every accepted request has one outcome')
  t.ok(executed >= answered, 'and every answer an effect')
  t.ok(answered > 20, `there was something to lose: ${answered} answers`)
  t.ok(kills > 0, `and something that broke: ${kills} kills`)
})

t.test('Ctrl-C ends it, and leaves no process and no file', async (t) => {
  const child = spawn(process.execPath, [MAIN, '--seconds', '60', '--only', 'cut', '--seed', 'test-2'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit')
  let dir = ''
  const lines = createInterface({ input: child.stdout })
  await new Promise<void>((resolve) => {
    lines.on('line', (line) => {
      dir ||= /in (\S+)$/.exec(line)?.[1] ?? ''
      if (line.startsWith('load and')) resolve()
    })
  })
  t.ok(existsSync(dir))
  t.match(await processes(), dir, 'its processes run')
  child.kill('SIGINT')
  t.same(await exited, [130, null])
  t.notMatch(await processes(), dir)
  t.notOk(existsSync(dir))
})

async function processes(): Promise<string> {
  const { stdout } = await promisify(execFile)('ps', ['-eo', 'args'])
  return stdout
}

t.test('options that make no sense are said', async (t) => {
  for (const options of [['--seconds', '1'], ['--only', 'earthquake'], ['--unknown']]) {
    const ended = await promisify(execFile)(process.execPath, [MAIN, ...options]).catch((error: unknown) => error)
    t.match(ended, { code: 2, stderr: /usage: npm run chaos/ })
  }
})
