import { isUtf8 } from 'node:buffer'
import { existsSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { createFileExclusive, readSecretFile, SECRET_MODE } from '../certs/index.ts'
import {
  type AppIlp,
  type AppRequest,
  DEFAULT_IPC_LIMITS,
  DEFAULT_TIMEOUT_MS,
  encodePayload,
  LONGEST_TIMEOUT_MS,
  type LsClient,
  type Outcome,
  type PendingNotice,
  parseRequest,
  payloadToJson,
  type Reply,
  type RequestIlp,
  restoreSealedRequest,
  type SavedSealedRequest,
  type SealedRequest,
  sealRequest,
} from '../ipc/index.ts'
import { readSealingPublicKey } from '../message/jwe/index.ts'
import { LsxError } from '../runtime/index.ts'
import { adviceFor } from './advice.ts'
import { type GlobalOptions, withDaemon } from './daemon-client.ts'
import { durationOption } from './duration.ts'
import { type CliIo, ExitCode, paint, printable, printJson, runCommand, type Tone } from './io.ts'
import { jsonText, parsePayload, prettyJsonText } from './json-text.ts'
import { exitCodeOfOutcome } from './outcome-exit.ts'

interface SendOptions extends GlobalOptions {
  readonly key?: string
  readonly timeout: number
  readonly durable?: boolean
  readonly ilp?: string
  readonly sealTo?: string
  readonly sealed?: string
}

/** How a request ended, as scripts get it. */
interface SendResult {
  readonly to: string
  readonly method: string
  readonly outcome: Outcome
  readonly code: string | undefined
  readonly message: string | undefined
  /** Idempotency key. */
  readonly key: string
  readonly ms: number
  readonly payload: unknown
  /** base64url. */
  readonly ilp?: { readonly fulfilment: string; readonly condition: string; readonly packet?: string } | undefined
}

/** `lsctl send`. */
export function addSendCommand(program: Command, io: CliIo): void {
  program
    .command('send')
    .summary('send one request to a bank')
    .description('send one request to a bank, and print the answer')
    .argument('<bank>', 'bank code')
    .argument('<method>', "method of the bank's xchange")
    .argument('[json]', 'payload; - reads it from standard input', '{}')
    .option('--key <key>', 'idempotency key, 1 to 64 bytes (default: a new one)')
    .addOption(
      new Option('--timeout <duration>', 'wait this long for the answer, at most 10m')
        .default(DEFAULT_TIMEOUT_MS, '30s')
        .argParser(durationOption(1, LONGEST_TIMEOUT_MS)),
    )
    .option('--durable', 'keep it in the journal of lsd until its outcome is known')
    .option('--seal-to <file>', 'seal the payload to this key of the bank (a .jwk file): LS cannot read it')
    .option('--sealed <file>', 'keep the sealed request in this file, or send again the one that is there')
    .option('--ilp <json>', 'ILP: {packet, condition} of a quote, or {amount, currency} for a packet of LS')
    .addHelpText(
      'after',
      [
        '',
        'Exit codes: 0 answered, 1 answered with an error, 3 refused, 4 not sent, 5 in doubt, 6 lsd is not reachable.',
        'A request in doubt may have run: send it again with the same --key only.',
        '',
        'Examples:',
        '  lsctl send 044 balance \'{"account":"0123456789"}\'',
        '  lsctl send 058 transfer - --key invoice-17 --timeout 5s < transfer.json',
        '  lsctl send 044 transfer - --seal-to sealing.jwk --sealed invoice-17.sealed < transfer.json',
      ].join('\n'),
    )
    .action((bank: string, method: string, json: string, options: SendOptions) =>
      runCommand(io, options.json === true, () => send(io, { bank, method, json }, options)),
    )
}

async function send(
  io: CliIo,
  { bank, method, json }: { bank: string; method: string; json: string },
  options: SendOptions,
): Promise<void> {
  const text = json === '-' ? textOf(await io.readStdin(DEFAULT_IPC_LIMITS.maxMessageBytes)) : json
  const request = parseRequest({
    op: 'request',
    id: 1,
    to: bank,
    method,
    payload: encodePayload(parsePayload(text)),
    key: options.key,
    timeoutMs: options.timeout,
    durable: options.durable,
    ilp: options.ilp === undefined ? undefined : parsePayload(options.ilp),
  })
  const sealed =
    options.sealTo === undefined ? undefined : await sealedRequestOf(options.sealTo, options.sealed, request)
  const result = await withDaemon(io, options, 'ls.sock', (client) =>
    resultOf(io, client, request, sealed, (notice) => tellPending(io, notice, options)),
  )
  if (options.json === true) printJson(io, result)
  else printForPeople(io, result, sealed === undefined ? undefined : options)
  io.exit(exitCodeOf(result))
}

function textOf(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new LsxError('BAD_REQUEST', 'the payload on standard input is not UTF-8')
  return bytes.toString()
}

/** Every request ends in an outcome, also one whose answer this program does not live to see. */
async function resultOf(
  io: CliIo,
  client: LsClient,
  request: AppRequest,
  sealed: SealedRequest | undefined,
  onPending: (notice: PendingNotice) => void,
): Promise<SendResult> {
  const { to, method, payload: payloadBytes, timeoutMs, durable, ilp } = request
  const key = sealed?.key ?? request.key
  const sentAtMs = io.clock.monotonicMs()
  try {
    const reply = await client.request({
      ...(sealed === undefined ? { to, method, key, payloadBytes } : { sealed }),
      timeoutMs,
      ...(durable === undefined ? {} : { durable }),
      ...(ilp === undefined ? {} : { ilp: requestIlpOf(ilp) }),
      signal: io.interrupt,
      onPending,
    })
    const { outcome, code, message, ms } = reply
    return { to, method, outcome, code, message, key, ms, payload: payloadOf(reply), ilp: proofOf(reply) }
  } catch (error) {
    const ms = Math.round(io.clock.monotonicMs() - sentAtMs)
    return { to, method, ...outcomeOf(io, error), key, ms, payload: undefined }
  }
}

/** Sealed now, or as it was when it was first sent: a repetition must have the same bytes. */
async function sealedRequestOf(
  publicFile: string,
  stateFile: string | undefined,
  request: AppRequest,
): Promise<SealedRequest> {
  const { to, method, key, payload: payloadBytes } = request
  if (stateFile !== undefined && existsSync(stateFile)) {
    const saved = restoreSealedRequest(JSON.parse(readSecretFile(stateFile).toString()) as SavedSealedRequest)
    if (saved.to === to && saved.method === method) return saved
    throw new LsxError('BAD_REQUEST', `${stateFile} holds a request to ${saved.to}, ${saved.method}`)
  }
  const sealed = await sealRequest({ to, method, key, payloadBytes, bankKey: readSealingPublicKey(publicFile) })
  if (stateFile !== undefined) createFileExclusive(stateFile, `${JSON.stringify(sealed.save())}\n`, SECRET_MODE)
  return sealed
}

/** What an app brings or orders, as the client library takes it. */
function requestIlpOf(ilp: AppIlp): RequestIlp {
  if (ilp.kind === 'brought') {
    const { packet, packetBytes, condition, expiresAtMs } = ilp.prepare
    return { packet: packetBytes, condition, ...(packet.version === 1 ? { expiresAt: expiresAtMs } : {}) }
  }
  const { amount, currency, destination, expiresInMs } = ilp
  return {
    ...(amount === undefined ? {} : { amount: amount.toString() }),
    ...(currency === undefined ? {} : { currency }),
    ...(destination === undefined ? {} : { destination }),
    ...(expiresInMs === undefined ? {} : { expiresInMs }),
  }
}

function proofOf({ ilp }: Reply): SendResult['ilp'] {
  if (ilp === undefined) return undefined
  const { fulfilment, condition, packet } = ilp
  return {
    fulfilment: fulfilment.toString('base64url'),
    condition: condition.toString('base64url'),
    ...(packet === undefined ? {} : { packet: packet.toString('base64url') }),
  }
}

function payloadOf({ payloadBytes }: Reply): unknown {
  return payloadBytes === undefined ? undefined : payloadToJson(payloadBytes)
}

/** What the client gave up on. Throws what is no outcome of a request. */
function outcomeOf(io: CliIo, error: unknown): { outcome: Outcome; code: string; message: string } {
  if (io.interrupt.aborted) return { outcome: 'in-doubt', code: 'IN_DOUBT', message: 'interrupted before the answer' }
  if (!(error instanceof LsxError)) throw error
  const { code, message } = error
  switch (code) {
    case 'IN_DOUBT':
      return { outcome: 'in-doubt', code, message }
    case 'TOO_LARGE':
      return { outcome: 'refused', code, message }
    case 'CHANNEL_DOWN':
      return { outcome: 'not-sent', code, message }
    default:
      throw error
  }
}

function tellPending(io: CliIo, { code, key }: PendingNotice, options: SendOptions): void {
  if (options.json === true) io.stderr(`${jsonText({ outcome: 'pending', code, key })}\n`)
  else io.stderr(`pending (${printable(code)}), key ${printable(key)}\n`)
}

function printForPeople(io: CliIo, result: SendResult, sealedBy: SendOptions | undefined): void {
  const { outcome, code, message, key, ms, payload, ilp } = result
  const what = code === undefined ? outcome : `${outcome} (${code})`
  io.stdout(`${paint(io, toneOf(result), what)} in ${ms} ms, key ${printable(key)}\n`)
  if (message !== undefined) io.stdout(`${printable(message)}\n`)
  if (payload !== undefined) io.stdout(`${prettyJsonText(payload)}\n`)
  if (ilp !== undefined) io.stdout(`proven: fulfilment ${ilp.fulfilment} meets condition ${ilp.condition}\n`)
  const advice = adviceOn(result, sealedBy)
  if (advice !== undefined) io.stderr(`lsctl: ${advice}\n`)
}

function toneOf({ outcome, code }: SendResult): Tone {
  if (outcome === 'answered') return code === undefined ? 'good' : 'warning'
  return 'bad'
}

function adviceOn({ outcome, code, key }: SendResult, sealedBy: SendOptions | undefined): string | undefined {
  switch (outcome) {
    case 'answered':
      return undefined
    case 'in-doubt':
      if (sealedBy !== undefined) {
        return sealedBy.sealed === undefined
          ? 'it may have run, and only a request that was kept with --sealed can be sent again'
          : `it may have run: send the same again with --sealed ${printable(sealedBy.sealed)}`
      }
      return `it may have run: send the same again with --key ${printable(key)}, and with no other`
    default:
      return `nothing was done: it may be sent again${suffix(adviceFor(code))}`
  }
}

function suffix(advice: string | undefined): string {
  return advice === undefined ? '' : `; ${advice}`
}

function exitCodeOf({ outcome, code }: SendResult): ExitCode {
  return outcome === 'answered' && code === undefined ? ExitCode.ok : exitCodeOfOutcome(outcome)
}
