import type { BankStatus } from '../ls/index.ts'
import type { DaemonStatus } from './answers.ts'
import { formatDuration, formatMilliseconds } from './duration.ts'
import { type Cell, type CliIo, formatTable, paint, printable } from './io.ts'
import { toneOf } from './tones.ts'
import { formatRatio } from './uptime-text.ts'

const HEAD = [
  'BANK',
  'NAME',
  'STATE',
  'SINCE',
  'SESSION',
  'EPOCH',
  'PEER',
  'IN FLIGHT',
  'QUEUED',
  'RTT',
  'KX (MEDIAN)',
  'LAST FAILURE',
]
const SESSION_CHARACTERS = 8
const MAX_FAILURE_CHARACTERS = 60

export function formatDaemon(io: CliIo, daemon: DaemonStatus): string {
  const { version, pid, phase, upMs, banks, connected } = daemon
  const facts = `pid ${pid}  up ${formatDuration(upMs)}  ${connected} of ${banks} banks connected`
  const alarms = alarmsOf(daemon).map((text) => `${paint(io, 'bad', text)}\n`)
  const warnings = (daemon.warnings ?? []).map((warning) => `${paint(io, 'warning', `warning: ${warning}`)}\n`)
  const head = `lsd ${printable(String(version))}  ${paint(io, phase === 'ready' ? 'good' : 'warning', String(phase))}`
  return `${head}  ${facts}\n${[...alarms, ...warnings].join('')}`
}

function alarmsOf({ mode, audit }: DaemonStatus): readonly string[] {
  return [
    ...(mode === 'permissive' ? ['PERMISSIVE MODE: rules of security are off'] : []),
    ...(audit?.state === 'failing'
      ? [`the audit log is not as it should be: ${printable(String(audit.problem))}`]
      : []),
  ]
}

export function formatBanks(io: CliIo, banks: readonly BankStatus[]): string {
  return formatTable(
    io,
    HEAD,
    banks.map((bank) => rowOf(bank, io.clock.nowMs())),
  )
}

function rowOf(bank: BankStatus, nowMs: number): readonly Cell[] {
  const { counters } = bank
  return [
    bank.bankCode,
    bank.name === '' ? '-' : bank.name,
    stateCell(bank),
    `${formatDuration(bank.stateMs)} ago`,
    bank.sessionId?.slice(0, SESSION_CHARACTERS) ?? '-',
    bank.epoch ?? '-',
    bank.peerAddress ?? '-',
    bank.inFlight,
    bank.queued,
    formatMilliseconds(counters.smoothedRoundTripMs),
    counters.kxCompleted === 0
      ? '0'
      : `${counters.kxCompleted} (${formatMilliseconds(counters.kxMedianMs)})${counters.kxFailed === 0 ? '' : `, ${counters.kxFailed} failed`}`,
    failureOf(bank, nowMs),
  ]
}

function stateCell({ state, nextDialInMs }: BankStatus): Cell {
  const text = nextDialInMs === undefined ? state : `${state}, dials in ${formatDuration(nextDialInMs)}`
  return { text, tone: toneOf(state) }
}

function failureOf({ lastFailure }: BankStatus, nowMs: number): string {
  if (lastFailure === undefined) return '-'
  const { at, cause, message } = lastFailure
  const text = `${cause} ${formatDuration(nowMs - Date.parse(at))} ago: ${message}`
  return text.length <= MAX_FAILURE_CHARACTERS ? text : `${text.slice(0, MAX_FAILURE_CHARACTERS - 1)}…`
}

/** Everything of one bank that the table has no room for. */
export function formatBankDetails(bank: BankStatus): string {
  const { counters, keys, lastFailure, outcomes, uptime } = bank
  const echo = `answered ${counters.echoesAnswered}, missed ${counters.echoesMissed}`
  const roundTrip = `${formatMilliseconds(counters.minRoundTripMs)} to ${formatMilliseconds(counters.maxRoundTripMs)}`
  const failure =
    lastFailure === undefined
      ? undefined
      : `${lastFailure.at} ${lastFailure.cause}${lastFailure.code === undefined ? '' : ` ${lastFailure.code}`}: ${lastFailure.message}`
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['dialled by', bank.dial],
    ['quarantined', bank.reason],
    ['quarantined by', byText(bank)],
    ['session', bank.sessionId],
    ['certificate until', bank.certificateNotAfter],
    ['last key exchange', keys?.lastKxAt],
    ['key exchanges', `started ${counters.kxStarted}, completed ${counters.kxCompleted}, failed ${counters.kxFailed}`],
    ['static key of LS', keys?.lsStatic],
    ['static key of xchange', keys?.xchangeStatic],
    ['identity of xchange', keys?.xchangeIdentity],
    ['echo', counters.echoesAnswered === 0 ? echo : `${echo}, round trip ${roundTrip}`],
    ['outcomes', countsText(outcomes)],
    ['sent', `${counters.framesSent} frames, ${counters.bytesSent} bytes, ${counters.requests} requests`],
    ['received', `${counters.framesReceived} frames, ${counters.bytesReceived} bytes, ${counters.responses} responses`],
    ['connects', String(counters.connects)],
    ['drops', countsText(counters.drops) ?? 'none'],
    ['uptime in 24 h', uptime === undefined ? undefined : formatRatio(uptime.uptime24h)],
    ['last failure', failure],
  ]
  return lines
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `  ${name.padEnd(21)}  ${printable(value ?? '')}\n`)
    .join('')
}

function countsText(counts: Readonly<Record<string, number>>): string | undefined {
  const counted = Object.entries(counts).filter(([, count]) => count > 0)
  return counted.length === 0 ? undefined : counted.map(([name, count]) => `${name} ${count}`).join(', ')
}

function byText({ quarantine }: BankStatus): string | undefined {
  return quarantine === undefined ? undefined : `${quarantine.by ?? 'not known'}, since ${quarantine.since}`
}
