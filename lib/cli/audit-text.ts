import type { AuditActor, AuditRecord, ChainReport } from '../audit/index.ts'
import { type CliIo, paint, printable, type Tone } from './io.ts'
import { jsonText } from './json-text.ts'

const MAX_FACTS = 300

const TONES: Readonly<Record<string, Tone>> = {
  refusal: 'warning',
  'kx-failed': 'warning',
  evidence: 'warning',
  quarantined: 'bad',
  'chain-broken': 'bad',
  'file-changed': 'bad',
  'records-lost': 'bad',
  'mode-permissive': 'bad',
  'store-emptied': 'bad',
  checkpoint: 'faint',
  'file-began': 'faint',
  rotated: 'faint',
}

/** One line for a person. */
export function formatRecord(io: CliIo, { seq, at, event, bankCode, by, facts }: AuditRecord): string {
  const { code, message, jws: _jws, ...others } = facts
  const words = [code, message].filter((word) => typeof word === 'string').join(' ')
  const rest = Object.keys(others).length === 0 ? '' : jsonText(others)
  const what = [words, rest, byText(by)].filter((part) => part !== '').join('  ')
  const cut = what.length > MAX_FACTS ? `${what.slice(0, MAX_FACTS)}…` : what
  const tone = TONES[event]
  const name = event.padEnd(22)
  const shown = tone === undefined ? printable(name) : paint(io, tone, name)
  return `${at}  ${String(seq).padStart(6)}  ${shown}  ${printable((bankCode ?? '-').padEnd(6))}  ${printable(cut)}`.trimEnd()
}

function byText(by: AuditActor | undefined): string {
  if (by === undefined) return ''
  const claimed = by.claimed?.sudoUser ?? by.claimed?.user
  const proven = by.provenUids === undefined ? '' : `, proven uid ${by.provenUids.join(' or ')}`
  return `by ${by.via}${typeof claimed === 'string' ? `, claims to be ${claimed}` : ''}${proven}`
}

/** What `lsctl audit verify` says, line by line. */
export function formatReport(io: CliIo, report: ChainReport): string {
  const lines = [
    `${report.party ?? 'unknown party'}, chain ${report.chain ?? '-'}: ${report.records} records in ${report.files} ${report.files === 1 ? 'file' : 'files'}, ${report.firstSeq ?? '-'} to ${report.lastSeq ?? '-'}, ${report.checkpoints} checkpoints`,
  ]
  const { signedThrough, unsigned } = report
  if (signedThrough !== undefined)
    lines.push(`signed through ${signedThrough.seq} at ${signedThrough.at} by ${signedThrough.pin}`)
  if (report.firstSeq !== undefined && report.firstSeq > 0)
    lines.push(`it begins at ${report.firstSeq}: what was before is not at hand, and was not checked`)
  if (signedThrough !== undefined && unsigned > 0)
    lines.push(
      `after the last checkpoint at ${signedThrough.seq}: ${unsigned} records are chained but not yet signed; whether more were cut off behind them cannot be proven here`,
    )
  else if (!report.isClosed && report.records > 0) lines.push('the daemon runs still, or was not stopped in order')
  for (const { kind, file, line, seq, message } of report.findings) {
    const place = `${file}:${line}${seq === undefined ? '' : ` record ${seq}`}`
    lines.push(paint(io, 'bad', `${kind}  ${place}: ${message}`))
  }
  if (report.findingCount > report.findings.length)
    lines.push(`and ${report.findingCount - report.findings.length} findings more`)
  lines.push(report.ok ? paint(io, 'good', 'verified') : paint(io, 'bad', 'NOT verified'))
  return `${lines.join('\n')}\n`
}
