import t from 'tap'
import { formatRatio } from '../../lib/cli/uptime-text.ts'
import type { IpcConnection } from '../../lib/ipc/index.ts'
import type { Transition, UptimeFigures } from '../../lib/ls/index.ts'
import { createRecordingIo } from '../support/recording-io.ts'
import { failed, ok, type ScriptedDaemon, startScriptedDaemon } from '../support/scripted-daemon.ts'

const AT_MS = Date.parse('2026-06-01T12:00:00Z')
const CONNECTED: Transition = {
  atMs: AT_MS,
  bankCode: '044',
  from: 'securing',
  to: 'connected',
  sessionId: '0123456789abcdef0123456789abcdef',
  epoch: 1,
  durationMs: 12,
}
const DROPPED: Transition = {
  atMs: AT_MS + 7_500_000,
  bankCode: '044',
  from: 'connected',
  to: 'idle',
  cause: 'echo',
  code: 'CHANNEL_DOWN',
  detail: 'two echoes were missed',
  durationMs: 7_500_000,
}
const REKEYED: Transition = { ...CONNECTED, from: 'connected', epoch: 2, atMs: AT_MS + 1_000, durationMs: 1_000 }

const FIGURES: UptimeFigures = {
  up: true,
  sinceMs: AT_MS,
  knownSinceMs: AT_MS - 1_000_000,
  uptime1h: 1,
  uptime24h: 0.999_987_9,
  uptime7d: 0.57,
  uptime30d: 0.999_999_999,
  connects: 4,
  dropCount: 3,
  drops: { echo: 2, tcp: 1 },
  failedAttempts: {},
  mtbfMs: 442_800_000,
  mttrMs: 1_250,
  lastDrop: { atMs: AT_MS, cause: 'echo' },
}
const BANKS = [
  { bankCode: '044', name: 'First Bank', state: 'connected', ...FIGURES },
  { bankCode: '058', name: '', state: 'idle' },
]

t.test('LS-16 percentages have four digits and are never rounded up', (t) => {
  const ratios: readonly (readonly [number | undefined, string])[] = [
    [1, '100%'],
    [0.999_999_999, '99.9999%'],
    [0.999_99, '99.9990%'],
    [0.57, '57.0000%'],
    [0.9, '90.0000%'],
    [0, '0.0000%'],
    [undefined, '-'],
  ]
  for (const [ratio, text] of ratios) t.equal(formatRatio(ratio), text)
  t.end()
})

t.test('LS-16 LS-17 the figures of each bank, then the transitions', async (t) => {
  const lsd = await startScriptedDaemon(t, { uptime: ok({ banks: BANKS, transitions: [CONNECTED, REKEYED, DROPPED] }) })
  const io = await lsd.run(['uptime'])
  const [head, first, second, blank, title, ...lines] = io.out.split('\n')
  t.match(head, /^BANK +STATE +1H +24H +7D +30D +CONNECTS +DROPS +MTBF +MTTR +LAST DROP$/)
  t.match(
    first,
    /^044 +connected +100% +99\.9987% +57\.0000% +99\.9999% +4 +3 \(echo 2, tcp 1\) +5d3h +1\.2s +2026-06-01T12:00:00\.000Z echo$/,
  )
  t.match(second, /^058 +idle +- +- +- +- +- +- +- +- +-$/)
  t.equal(blank, '')
  t.equal(title, 'transitions in the last 1d')
  t.strictSame(
    lines.map((line) => line.replace(/ {2,}/g, '  ')),
    [
      '2026-06-01T12:00:00.000Z  044  securing -> connected  after 12ms  session 01234567 epoch 1',
      '2026-06-01T12:00:01.000Z  044  rekeyed  after 1s  session 01234567 epoch 2',
      '2026-06-01T14:05:00.000Z  044  connected -> idle  after 2h05m  echo CHANNEL_DOWN two echoes were missed',
      '',
    ],
  )
  t.equal(io.exitCode, undefined)
  t.strictSame(lsd.asked, [{ op: 'uptime', sinceMs: 86_400_000, limit: 50 }])
})

t.test('options reach lsd; a list that was cut says so', async (t) => {
  const lsd = await startScriptedDaemon(t, { uptime: ok({ banks: BANKS, transitions: [CONNECTED] }) })
  const io = await lsd.run(['uptime', '044', '--since', '7d', '--limit', '1'])
  t.strictSame(lsd.asked, [{ op: 'uptime', bank: '044', sinceMs: 604_800_000, limit: 1 }])
  t.match(io.out, '\nthe newest 1 transitions (--limit shows more) in the last 7d\n')
  const none = await startScriptedDaemon(t, { uptime: ok({ banks: BANKS, transitions: [] }) })
  t.match((await none.run(['uptime'])).out, /\nno transitions in the last 1d\n$/)
  for (const line of [
    ['--since', 'yesterday'],
    ['--since', '32d'],
    ['--limit', '0'],
    ['--limit', '10001'],
  ]) {
    t.equal((await lsd.run(['uptime', ...line])).exitCode, 2, line.join(' '))
  }
})

t.test('--json is what lsd answered', async (t) => {
  const lsd = await startScriptedDaemon(t, { uptime: ok({ banks: BANKS, transitions: [DROPPED] }) })
  t.strictSame(JSON.parse((await lsd.run(['uptime', '--json'])).out), { banks: BANKS, transitions: [DROPPED] })
})

interface Following {
  readonly lsd: ScriptedDaemon
  /** Resolves when lsctl follows, with what lets the test tell of a transition. */
  readonly followed: Promise<(transition: Transition) => void>
}

/** Tells of DROPPED, which is in the list too, and of REKEYED, which is not, before the list is answered. */
async function startFollowed(t: Parameters<typeof startScriptedDaemon>[0]): Promise<Following> {
  let tell: (transition: Transition) => void = () => {}
  let onFollowed: (tell: (transition: Transition) => void) => void = () => {}
  const followed = new Promise<(transition: Transition) => void>((resolve) => {
    onFollowed = resolve
  })
  const lsd = await startScriptedDaemon(t, {
    'uptime-follow': ({ id }, connection: IpcConnection) => {
      tell = (transition) => connection.reply({ id, event: 'transition', data: { ...transition } })
      return { ok: true, result: { following: 'all' } }
    },
    uptime: () => {
      tell(DROPPED)
      tell(REKEYED)
      onFollowed(tell)
      return { ok: true, result: { banks: BANKS, transitions: [CONNECTED, DROPPED] } }
    },
  })
  return { lsd, followed }
}

t.test('LS-17 --follow goes on with each transition as it happens, once each, until Ctrl-C', async (t) => {
  const { lsd, followed } = await startFollowed(t)
  const ctrlC = new AbortController()
  const io = createRecordingIo({ interrupt: ctrlC.signal })
  const running = lsd.runWith(io, ['uptime', '--follow'])
  const tell = await followed
  await io.untilOut(/rekeyed.*\n/)
  tell({ ...DROPPED, bankCode: '058', detail: '\u001b[2J' })
  await io.untilOut(/058 .*-> idle.*\n/)
  ctrlC.abort()
  await running
  t.equal(io.exitCode, undefined)
  t.equal(io.err, '')
  const lines = io.out.split('\n').filter((line) => line.startsWith('2026'))
  t.equal(lines.length, 4)
  t.match(lines[1], '044     connected -> idle')
  t.match(lines[3], /058 .+ \ufffd\[2J$/)
  t.strictSame(lsd.asked[0], { op: 'uptime-follow' })
})

t.test('--follow --json is one transition a line', async (t) => {
  const { lsd, followed } = await startFollowed(t)
  const ctrlC = new AbortController()
  const io = createRecordingIo({ interrupt: ctrlC.signal })
  const running = lsd.runWith(io, ['uptime', '044', '--follow', '--json'])
  await followed
  await io.untilOut(/"epoch":2.*\n/)
  ctrlC.abort()
  await running
  const transitions = io.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  t.strictSame(transitions, [CONNECTED, DROPPED, REKEYED])
  t.strictSame(lsd.asked[0], { op: 'uptime-follow', bank: '044' })
})

t.test('--follow ends with 6 when lsd goes away, with 3 when it refuses', async (t) => {
  const { lsd, followed } = await startFollowed(t)
  const io = createRecordingIo()
  const running = lsd.runWith(io, ['uptime', '--follow'])
  await followed
  await io.untilOut(/rekeyed/)
  await lsd.stop()
  await running
  t.equal(io.exitCode, 6)
  t.match(io.err, 'lsd closed the connection')

  const refusing = await startScriptedDaemon(t, { 'uptime-follow': failed('UNKNOWN_BANK', 'no bank 999') })
  t.equal((await refusing.run(['uptime', '999', '--follow'])).exitCode, 3)
})
