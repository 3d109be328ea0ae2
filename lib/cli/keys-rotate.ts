import { existsSync } from 'node:fs'
import { type Command, Option } from 'commander'
import type { KeyStatus, RingKey } from '../keys/index.ts'
import { LsxError } from '../runtime/index.ts'
import type { BankResult } from './answers.ts'
import { callAdmin, type GlobalOptions } from './daemon-client.ts'
import { parseDuration } from './duration.ts'
import { type Cell, type CliIo, printJson, printTable, runCommand } from './io.ts'
import { type ConfiguredKeys, keysOfConfig, ringOf } from './key-places.ts'

const DAY_MS = 86_400_000
const KINDS = ['session', 'token', 'identity', 'jws', 'store'] as const

interface RotateOptions extends GlobalOptions {
  readonly all?: boolean
  readonly kind?: (typeof KINDS)[number]
  readonly config?: string
  readonly prepare?: boolean
  readonly schedule?: string
}

/** What the table of keys needs of one. */
type ShownKey = Pick<
  KeyStatus,
  'kind' | 'keyId' | 'state' | 'file' | 'ageDays' | 'rotateBy' | 'isDue' | 'retireAt' | 'activeFrom'
>

interface RotateAnswer {
  readonly banks?: readonly BankResult[]
  readonly token?: { readonly keyId: string }
  readonly keys?: readonly KeyStatus[]
}

/** `lsctl keys rotate`. */
export function addKeysRotate(keys: Command, io: CliIo): void {
  keys
    .command('rotate')
    .summary('replace keys, old and new valid in an overlap')
    .description('replace keys of lsd, or of the daemon that --config configures, without an end of the channels')
    .argument('[bank]', 'the sessions with this bank only')
    .option('--all', 'the sessions with all banks')
    .addOption(new Option('--kind <kind>', 'which key (default: session and token)').choices([...KINDS]))
    .option('--config <file>', "work on a daemon's key files: for xchanged, or an lsd that is not up")
    .option('--prepare', 'make and publish the next key, and do not use it yet')
    .option('--schedule <when>', 'the same, and let the daemon use it then: 7d, or 2027-01-31T03:00Z')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      [
        '',
        'session   a new key exchange with the bank',
        "token     the key of lsd's request tokens, in memory",
        'identity  needs the other side: --prepare, let it pin the key that is printed beside the old one, then rotate',
        'jws       the public key goes into the key directory with --prepare; peers need it before it signs',
        'store     records are sealed anew in the background',
        '',
        'Examples:',
        '  lsctl keys rotate 044',
        '  lsctl keys rotate --kind identity --prepare',
        '  lsctl keys rotate --kind identity',
        '  lsctl keys rotate --kind store --schedule 2d',
        '  lsctl keys rotate --config config/xchange.yaml --kind identity --prepare',
      ].join('\n'),
    )
    .action((bank: string | undefined, options: RotateOptions) =>
      runCommand(io, options.json === true, async () => {
        const atMs = options.schedule === undefined ? undefined : timeOf(options.schedule, io.clock.nowMs())
        const isPrepared = options.prepare === true || atMs !== undefined
        if (options.config !== undefined) rotateFiles(io, options, { bank, atMs, isPrepared })
        else await rotateLive(io, options, { bank, atMs, isPrepared })
      }),
    )
}

/** A table of keys, or JSON: of lsd, or of the daemon that a file configures. */
export async function showKeys(io: CliIo, options: GlobalOptions & { readonly config?: string }): Promise<void> {
  const keys =
    options.config === undefined
      ? ((await callAdmin(io, options, 'keys')) as RotateAnswer).keys
      : statusOf(keysOfConfig(options.config, io.env), io.clock.nowMs())
  if (options.json === true) printJson(io, { keys })
  else printKeys(io, keys ?? [])
}

async function rotateLive(
  io: CliIo,
  options: RotateOptions,
  { bank, atMs, isPrepared }: { bank: string | undefined; atMs: number | undefined; isPrepared: boolean },
): Promise<void> {
  const { all, kind } = options
  if (isPrepared && (kind === undefined || kind === 'session' || kind === 'token'))
    throw new LsxError('BAD_REQUEST', 'only an identity, jws or store key is prepared: name it with --kind')
  const answer = (await callAdmin(io, options, 'keys-rotate', {
    ...(bank === undefined ? {} : { bank }),
    ...(all === undefined ? {} : { all }),
    ...(kind === undefined ? {} : { kind }),
    ...(atMs === undefined ? {} : { at: atMs }),
    act: isPrepared ? 'prepare' : 'activate',
  })) as RotateAnswer
  if (options.json === true) return printJson(io, answer)
  for (const { bankCode, ok, message } of answer.banks ?? [])
    io.stdout(ok ? `${bankCode}: a new key exchange has begun\n` : `${bankCode}: ${message ?? 'not done'}\n`)
  if (answer.token !== undefined) io.stdout(`token key ${answer.token.keyId} is in use\n`)
  if (answer.keys !== undefined) {
    printKeys(io, answer.keys)
    adviseOn(io, answer.keys, isPrepared)
  }
}

function rotateFiles(
  io: CliIo,
  options: RotateOptions,
  { bank, atMs, isPrepared }: { bank: string | undefined; atMs: number | undefined; isPrepared: boolean },
): void {
  if (bank !== undefined || options.all === true)
    throw new LsxError('BAD_REQUEST', 'with --config there are no banks to name: it is about the keys of one daemon')
  if (options.kind === undefined) throw new LsxError('BAD_REQUEST', 'name the key with --kind')
  const configured = keysOfConfig(options.config ?? '', io.env)
  const ring = ringOf(configured, options.kind)
  const nowMs = io.clock.nowMs()
  ring.repair(nowMs)
  ring.prepare(nowMs, isPrepared ? atMs : nowMs)
  if (!isPrepared) ring.activate(nowMs)
  const keys = statusOf(configured, nowMs).filter(({ kind }) => kind === options.kind)
  if (options.json === true) {
    printJson(io, { kind: options.kind, keys })
    return
  }
  printKeys(io, keys)
  adviseOn(io, keys, isPrepared)
  if (!isPrepared) io.stdout('let the daemon take it: kill -HUP its process\n')
}

function adviseOn(
  io: CliIo,
  keys: readonly (ShownKey & { publicKey: string | undefined })[],
  isPrepared: boolean,
): void {
  const shown = keys.find(({ state }) => state === (isPrepared ? 'next' : 'active'))
  if (shown === undefined) return
  if (shown.publicKey !== undefined) io.stdout(`${shown.publicKey}\n`)
  if (shown.kind === 'store' && !isPrepared) io.stdout(`copy ${shown.file} to where the backup of the old key is\n`)
  if (shown.kind !== 'identity') return
  if (isPrepared) io.stdout('  the other side pins it beside the one before; rotate when it has\n')
  else io.stdout('  proven from now on; the other side takes the old pin away when it has seen it\n')
}

function statusOf(
  { rings, days }: ConfiguredKeys,
  nowMs: number,
): readonly (ShownKey & { publicKey: string | undefined })[] {
  const all = [rings.identity, rings.jws, rings.store].filter((ring) => ring !== undefined && existsSync(ring.file))
  return all.flatMap((ring) => (ring?.look() ?? []).map((key) => statusOfKey(key, days[key.kind], nowMs)))
}

function statusOfKey(key: RingKey, days: number, nowMs: number): ShownKey & { publicKey: string | undefined } {
  const { kind, keyId, state, file, createdAtMs, activeFromMs, retireAtMs, publicText } = key
  const rotateByMs = state === 'active' ? (activeFromMs ?? createdAtMs) + days * DAY_MS : undefined
  return {
    kind,
    keyId,
    state,
    file,
    ageDays: Math.max(0, Math.floor((nowMs - createdAtMs) / DAY_MS)),
    activeFrom: isoTime(activeFromMs),
    rotateBy: isoTime(rotateByMs),
    isDue: rotateByMs !== undefined && nowMs >= rotateByMs,
    retireAt: isoTime(retireAtMs),
    publicKey: publicText,
  }
}

function printKeys(io: CliIo, keys: readonly ShownKey[]): void {
  printTable(io, ['KIND', 'KEY', 'STATE', 'AGE', 'NEXT'], keys.map(rowOf))
}

function rowOf(key: ShownKey): readonly Cell[] {
  const { kind, keyId, state, ageDays } = key
  const age = `${ageDays} day${ageDays === 1 ? '' : 's'}`
  return [kind, keyId, { text: state, tone: state === 'active' ? 'good' : 'faint' }, age, nextOf(key)]
}

function nextOf({ state, rotateBy, isDue, retireAt, activeFrom }: ShownKey): Cell {
  if (state === 'active')
    return isDue ? { text: 'rotation is due', tone: 'warning' } : `rotate by ${rotateBy?.slice(0, 10) ?? '-'}`
  if (state === 'next')
    return activeFrom === undefined ? 'waits for a command' : `in use from ${activeFrom.slice(0, 16)}Z`
  return retireAt === undefined ? '-' : `removed from ${retireAt.slice(0, 10)}`
}

function timeOf(text: string, nowMs: number): number {
  const durationMs = parseDuration(text)
  const atMs = durationMs === undefined ? Date.parse(text) : nowMs + durationMs
  if (!Number.isFinite(atMs) || (durationMs === undefined && !/^\d{4}-\d\d-\d\dT/.test(text)))
    throw new LsxError('BAD_REQUEST', '--schedule takes a time such as 7d or 2027-01-31T03:00Z')
  return atMs
}

function isoTime(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString()
}
