import type { Transition } from '../ls/index.ts'
import type { BankUptime } from './answers.ts'
import { formatDuration } from './duration.ts'
import { type Cell, type CliIo, formatTable, paint, printable } from './io.ts'
import { toneOf } from './tones.ts'

const HEAD = ['BANK', 'STATE', '1H', '24H', '7D', '30D', 'CONNECTS', 'DROPS', 'MTBF', 'MTTR', 'LAST DROP']
const TEN_THOUSANDTHS = 1_000_000
const SESSION_CHARACTERS = 8

/** Four digits, never rounded up: `100%` is said of no bank that was down for a moment. */
export function formatRatio(ratio: number | undefined): string {
  if (ratio === undefined) return '-'
  if (ratio >= 1) return '100%'
  // A little more, because 0.57 times a million is below 570,000 in binary.
  const parts = Math.min(TEN_THOUSANDTHS - 1, Math.floor(Math.max(0, ratio) * TEN_THOUSANDTHS + 1e-6))
  return `${(parts / 10_000).toFixed(4)}%`
}

export function formatFigures(io: CliIo, banks: readonly BankUptime[]): string {
  return formatTable(io, HEAD, banks.map(rowOf))
}

function rowOf(bank: BankUptime): readonly Cell[] {
  return [
    bank.bankCode,
    { text: bank.state, tone: toneOf(bank.state) },
    formatRatio(bank.uptime1h),
    formatRatio(bank.uptime24h),
    formatRatio(bank.uptime7d),
    formatRatio(bank.uptime30d),
    bank.connects ?? '-',
    dropsOf(bank),
    bank.mtbfMs === undefined ? '-' : formatDuration(bank.mtbfMs),
    bank.mttrMs === undefined ? '-' : formatDuration(bank.mttrMs),
    bank.lastDrop === undefined ? '-' : `${timeText(bank.lastDrop.atMs)} ${bank.lastDrop.cause}`,
  ]
}

/** `3 (echo 2, tcp 1)`. */
function dropsOf({ dropCount, drops }: BankUptime): string {
  const causes = Object.entries(drops ?? {}).map(([cause, count]) => `${cause} ${count}`)
  return causes.length === 0 ? String(dropCount ?? '-') : `${dropCount} (${causes.join(', ')})`
}

/** One line, without its newline. */
export function formatTransition(io: CliIo, transition: Transition): string {
  const { atMs, bankCode, from, to, cause, code, detail, sessionId, epoch, durationMs } = transition
  const step = from === to ? 'rekeyed' : `${printable(from)} -> ${printable(to)}`
  const lasted = `after ${formatDuration(durationMs)}`
  const facts = [
    cause,
    code,
    detail,
    sessionId === undefined ? undefined : `session ${sessionId.slice(0, SESSION_CHARACTERS)}`,
    epoch === undefined ? undefined : `epoch ${epoch}`,
  ].filter((fact) => fact !== undefined)
  return [
    timeText(atMs),
    printable(bankCode).padEnd(6),
    paint(io, toneOf(to), step.padEnd(24)),
    lasted.padEnd(14),
    printable(facts.join(' ')),
  ]
    .join('  ')
    .trimEnd()
}

/** UTC, as in the logs. */
function timeText(atMs: number): string {
  return new Date(atMs).toISOString()
}
