import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { DIST } from '../support/once.ts'

const run = promisify(execFile)
const PROGRAM = join(DIST, 'bench', 'main.js')

t.test('measures our path and a peer over real processes, and says what it found as JSON', async (t) => {
  const chart = join(t.testdir(), 'chart.svg')
  const { stdout } = await run(process.execPath, [
    PROGRAM,
    '--json',
    ...['--systems', 'ours,ours-durable,ws-echo', '--concurrency', '1,8', '--body', '64'],
    ...['--rounds', '1', '--seconds', '1', '--chart', chart],
  ])
  const { machine, runs, ratios, skipped, failed } = JSON.parse(stdout)
  t.strictSame([skipped, failed], [[], []])
  t.match(machine, { cores: Number, node: process.version })
  t.strictSame(
    runs.map(({ system, concurrency, body }: Record<string, unknown>) => [system, concurrency, body]),
    [
      ['ours', 1, 64],
      ['ours', 8, 64],
      ['ours-durable', 1, 64],
      ['ours-durable', 8, 64],
      ['ws-echo', 1, 64],
      ['ws-echo', 8, 64],
    ],
  )
  for (const { system, rps, p50Ms, p99Ms, p999Ms, cpuUs, rssMiB, errors } of runs) {
    t.equal(errors, 0)
    t.ok(rps > 0)
    t.ok(p50Ms > 0 && p50Ms <= p99Ms && p99Ms <= p999Ms)
    const processes = system === 'ws-echo' ? ['app', 'server'] : ['app', 'ls', 'xchange']
    if (process.platform === 'linux') t.strictSame([Object.keys(cpuUs), Object.keys(rssMiB)], [processes, processes])
    else t.ok(cpuUs.app > 0)
  }
  for (const name of ['vsWsEcho', 'durableVsPlain', 'p50OneVsWsEcho']) t.ok(ratios[name] > 0, name)
  t.match(readFileSync(chart, 'utf8'), /^<svg[\s\S]*ours, durable[\s\S]*<\/svg>\n$/)
})

t.test(
  'SEC-15 with all of it on, mTLS, kx, JWS and ILP, what is in flight at once is answered and proven',
  async (t) => {
    const { stdout } = await run(process.execPath, [
      PROGRAM,
      '--json',
      ...['--systems', 'ours-security,ours-jws', '--concurrency', '64', '--body', '256'],
      ...['--rounds', '1', '--seconds', '1', '--chart', join(t.testdir(), 'chart.svg')],
    ])
    const { runs, skipped, failed } = JSON.parse(stdout)
    t.strictSame([skipped, failed], [[], []])
    t.strictSame(
      runs.map(({ system, errors }: Record<string, unknown>) => [system, errors]),
      [
        ['ours-security', 0],
        ['ours-jws', 0],
      ],
      'an answer whose signature or fulfilment is not good counts as an error',
    )
    for (const { rps } of runs) t.ok(rps > 0)
  },
)

t.test('a wrong command line is told, with exit code 2', async (t) => {
  for (const args of [['--systems', 'carrier-pigeon'], ['--rounds', 'many'], ['--unknown']]) {
    const failure = await run(process.execPath, [PROGRAM, ...args]).catch((error) => error)
    t.equal(failure.code, 2)
    t.match(failure.stderr, /^bench: /)
  }
})
