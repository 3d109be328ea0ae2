import { stripVTControlCharacters } from 'node:util'
import t from 'tap'
import type { BankStatus } from '../../lib/ls/index.ts'
import { bankStatus, DAEMON_STATUS } from '../support/bank-status.ts'
import { createRecordingIo } from '../support/recording-io.ts'
import { failed, ok, startScriptedDaemon } from '../support/scripted-daemon.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const NOW_MS = Date.parse('2026-06-01T12:00:00Z')
const NOTHING = {
  sessionId: undefined,
  epoch: undefined,
  peerAddress: undefined,
  certificateNotAfter: undefined,
  keys: undefined,
  inFlight: 0,
  queued: 0,
  status: 0,
} as const

const BANKS: readonly BankStatus[] = [
  bankStatus(),
  bankStatus({
    ...NOTHING,
    bankCode: '058',
    name: '',
    state: 'idle',
    stateMs: 3_500,
    nextDialInMs: 1_250,
    lastFailure: {
      at: '2026-06-01T11:59:56.500Z',
      cause: 'tcp',
      code: 'CHANNEL_DOWN',
      message: 'connect ECONNREFUSED 127.0.0.1:8443',
    },
    counters: { ...bankStatus().counters, smoothedRoundTripMs: undefined, kxCompleted: 0, kxMedianMs: undefined },
  }),
  bankStatus({ ...NOTHING, bankCode: '070', state: 'quarantined', reason: 'key lost' }),
]

t.test('LS-16 a row for each bank, with its last failure and the cause', async (t) => {
  const lsd = await startScriptedDaemon(t, { status: ok({ daemon: DAEMON_STATUS, banks: BANKS }) })
  const io = await lsd.run(['status'], { clock: new VirtualClock(NOW_MS) })
  const [daemon, blank, head, connected, idle, quarantined, ...rest] = io.out.split('\n')
  t.equal(daemon, 'lsd 0.1.0  ready  pid 4711  up 2h05m  1 of 3 banks connected')
  t.equal(blank, '')
  t.match(head, /^BANK +NAME +STATE +SINCE +SESSION +EPOCH +PEER +IN FLIGHT +QUEUED +RTT +KX \(MEDIAN\) +LAST FAILURE$/)
  t.match(
    connected,
    /^044 +First Bank +connected +12m05s ago +01234567 +3 +127\.0\.0\.1 +2 +1 +0\.84 ms +3 \(1\.90 ms\) +-$/,
  )
  t.match(idle, /^058 +- +idle, dials in 1\.2s +3\.5s ago +- +- +- +0 +0 +- +0 +tcp 3\.5s ago: connect ECONNREFUSED/)
  t.match(quarantined, /^070 +First Bank +quarantined /)
  t.strictSame(rest, [''])
  t.equal(io.err, '')
  t.equal(io.exitCode, undefined)
  t.strictSame(lsd.asked, [{ op: 'status' }])
})

t.test('states have colours on a terminal', async (t) => {
  const lsd = await startScriptedDaemon(t, { status: ok({ daemon: DAEMON_STATUS, banks: BANKS }) })
  const { out } = await lsd.run(['status'], { isTty: true })
  t.match(out, '\u001b[32mconnected\u001b[0m')
  t.match(out, '\u001b[33midle, dials in 1.2s\u001b[0m')
  t.match(out, '\u001b[31mquarantined\u001b[0m')
})

t.test('one bank comes with all that is known of it', async (t) => {
  const [, idle, quarantined] = BANKS
  const lsd = await startScriptedDaemon(t, {
    status: ({ bank }) => ({
      ok: true,
      result: {
        daemon: DAEMON_STATUS,
        banks: [bank === '070' ? quarantined : bank === '058' ? idle : bankStatus()],
      },
    }),
  })
  const { out } = await lsd.run(['status', '044'])
  t.strictSame(lsd.asked, [{ op: 'status', bank: '044' }])
  t.match(out, /\n {2}session +0123456789abcdef0123456789abcdef\n/)
  t.match(out, /\n {2}identity of xchange +(cc){32}\n/)
  t.match(out, /\n {2}echo +answered 70, missed 1, round trip 0\.50 ms to 2\.00 ms\n/)
  t.match(out, /\n {2}outcomes +answered 7, refused 1\n/)
  t.match(out, /\n {2}drops +echo 2\n/)
  t.match(
    (await lsd.run(['status', '058'])).out,
    /\n {2}last failure +2026-06-01T11:59:56\.500Z tcp CHANNEL_DOWN: connect ECONNREFUSED 127\.0\.0\.1:8443\n/,
  )
  t.match((await lsd.run(['status', '070'])).out, /\n {2}quarantined +key lost\n/)
})

t.test('--json is what lsd answered', async (t) => {
  const lsd = await startScriptedDaemon(t, { status: ok({ daemon: DAEMON_STATUS, banks: BANKS }) })
  const { out } = await lsd.run(['status', '--json'])
  t.strictSame(JSON.parse(out), JSON.parse(JSON.stringify({ daemon: DAEMON_STATUS, banks: BANKS })))
})

t.test("a peer's words cannot command the terminal", async (t) => {
  const hostile = '\u001b[2J\u009b\u202e\n'
  const bank = bankStatus({
    name: hostile,
    reason: hostile,
    peerAddress: hostile,
    lastFailure: { at: new Date(0).toISOString(), cause: 'kx', code: 'KX_FAILED', message: hostile },
  })
  const lsd = await startScriptedDaemon(t, { status: ok({ daemon: DAEMON_STATUS, banks: [bank] }) })
  for (const line of [['status'], ['status', '044'], ['status', '--json']]) {
    const { out } = await lsd.run(line)
    t.notMatch(out.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u)
  }
})

t.test('what lsd refuses is told, with what to do', async (t) => {
  const unknown = await startScriptedDaemon(t, {
    status: failed('UNKNOWN_BANK', 'no bank 999 is configured here'),
  })
  const people = await unknown.run(['status', '999'])
  t.equal(people.err, 'lsctl: no bank 999 is configured here; lsctl status lists the banks (UNKNOWN_BANK)\n')
  t.equal(people.exitCode, 3)
  t.equal(people.out, '')
  const scripts = await unknown.run(['status', '999', '--json'])
  t.match(JSON.parse(scripts.err), { code: 'UNKNOWN_BANK', advice: 'lsctl status lists the banks' })
  const wrong = await startScriptedDaemon(t, { status: failed('BAD_REQUEST', 'bank: a bank code is 1 to 32 of …') })
  t.equal((await wrong.run(['status', 'x y'])).exitCode, 2)
  const broken = await startScriptedDaemon(t, { status: failed('INTERNAL', 'an internal failure') })
  t.equal((await broken.run(['status'])).exitCode, 1)
  const other = await startScriptedDaemon(t, { status: ok({}) })
  const io = await other.run(['status'])
  t.match(io.err, 'are they of one version?')
  t.equal(io.exitCode, 1)
})

t.test('--watch draws the same place each second, until Ctrl-C', async (t) => {
  const clock = new VirtualClock(NOW_MS)
  const ctrlC = new AbortController()
  let asked = 0
  const lsd = await startScriptedDaemon(t, {
    status: () => ({ ok: true, result: { daemon: { ...DAEMON_STATUS, pid: ++asked }, banks: BANKS } }),
  })
  const io = createRecordingIo({ isTty: true, columns: 200, clock, interrupt: ctrlC.signal })
  const running = lsd.runWith(io, ['status', '--watch'])
  await io.untilOut(/pid 1 /)
  t.ok(io.out.startsWith('\u001b[2J\u001b[Hlsd 0.1.0'))
  const first = io.out.length
  await clock.advance(999)
  t.equal(io.out.length, first)
  await clock.advance(1)
  await io.untilOut(/pid 2 /)
  const second = io.out.slice(first)
  t.ok(second.startsWith('\u001b[Hlsd 0.1.0'), 'without clearing what stays')
  t.ok(second.endsWith('\u001b[K\n\u001b[J'))
  t.match(stripVTControlCharacters(second), /^lsd .+\n\nBANK .+\n044 /)
  ctrlC.abort()
  await running
  t.equal(io.exitCode, undefined)
  t.equal(io.err, '')
})

t.test('--watch --json is one line each second', async (t) => {
  const clock = new VirtualClock(NOW_MS)
  const ctrlC = new AbortController()
  const lsd = await startScriptedDaemon(t, { status: ok({ daemon: DAEMON_STATUS, banks: [] }) })
  const io = createRecordingIo({ isTty: true, clock, interrupt: ctrlC.signal })
  const running = lsd.runWith(io, ['status', '--watch', '--json'])
  await io.untilOut(/^.+\n$/)
  await clock.advance(1_000)
  await io.untilOut(/^.+\n.+\n$/)
  ctrlC.abort()
  await running
  const document = JSON.stringify({ daemon: DAEMON_STATUS, banks: [] })
  t.equal(io.out, `${document}\n${document}\n`)
  t.equal(io.exitCode, undefined)
})

t.test('--watch ends with 6 when lsd goes away', async (t) => {
  const clock = new VirtualClock(NOW_MS)
  const lsd = await startScriptedDaemon(t, { status: ok({ daemon: DAEMON_STATUS, banks: [] }) })
  const io = createRecordingIo({ clock })
  const running = lsd.runWith(io, ['status', '--watch'])
  await io.untilOut(/^lsd/)
  await lsd.stop()
  await clock.advance(1_000)
  await running
  t.match(io.err, /^lsctl: lsd closed the connection; its log says why \(CHANNEL_DOWN\)\n$/)
  t.equal(io.exitCode, 6)
})
