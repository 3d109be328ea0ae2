import { isDeepStrictEqual } from 'node:util'
import { toLsxError } from '../../runtime/index.ts'
import { type KeyFinder, MessageDirection, type ProvenMessage, proveMessage } from '../jws/index.ts'
import { type EvidenceFile, type EvidenceMessage, exportMessage, importMessage } from './evidence-file.ts'

/** What can be said of one message. All but `problem` is proven where there is no problem, and claimed where there is. */
export interface MessageReport {
  readonly direction: 'request' | 'response'
  readonly party: string | undefined
  readonly keyId: string | undefined
  /** RFC 7638: of the key that it was verified with. */
  readonly thumbprint: string | undefined
  readonly signedAt: string | undefined
  readonly bankCode: string | undefined
  readonly sessionId: string | undefined
  readonly method: string | undefined
  readonly status: number | undefined
  readonly payload: Buffer | undefined
  readonly problem: string | undefined
}

export interface ExchangeReport {
  readonly request: MessageReport | undefined
  readonly response: MessageReport
  /** That the two belong together: undefined where they do. */
  readonly problem: string | undefined
}

export interface EvidenceReport {
  readonly key: string
  /** Every message is proven, and every response belongs to its request. */
  readonly isProven: boolean
  readonly exchanges: readonly ExchangeReport[]
}

/** Verifies a file with these keys and nothing else; the keys in the file count for nothing. Never throws for what it finds. */
export function verifyEvidence(file: EvidenceFile, keys: KeyFinder): EvidenceReport {
  const exchanges = file.exchanges.map((exchange) => {
    const request = exchange.request === undefined ? undefined : judge(exchange.request, 'request', file.key, keys)
    const response = judge(exchange.response, 'response', file.key, keys)
    return {
      request: request?.report,
      response: response.report,
      problem:
        response.proven === undefined || (request !== undefined && request.proven === undefined)
          ? undefined
          : problemBetween(request?.proven, response.proven),
    }
  })
  const isProven = exchanges.every(
    ({ request, response, problem }) =>
      request?.problem === undefined && response.problem === undefined && problem === undefined,
  )
  return { key: file.key, isProven, exchanges }
}

function judge(
  message: EvidenceMessage,
  direction: 'request' | 'response',
  key: string,
  keys: KeyFinder,
): { report: MessageReport; proven: ProvenMessage | undefined } {
  try {
    const evidence = importMessage(message)
    const proven = proveMessage(evidence, keys)
    const problem = problemOf(proven, { direction, key }) ?? problemOfFacts(message, exportMessage(evidence))
    return { report: reportOf(direction, proven, problem), proven: problem === undefined ? proven : undefined }
  } catch (thrown) {
    const { party, keyId, signedAt, bankCode, sessionId, method } = message.facts
    return {
      report: {
        direction,
        party: text(party),
        keyId: text(keyId),
        thumbprint: undefined,
        signedAt: text(signedAt),
        bankCode: text(bankCode),
        sessionId: text(sessionId),
        method: text(method),
        status: undefined,
        payload: undefined,
        problem: toLsxError(thrown).message,
      },
      proven: undefined,
    }
  }
}

function problemOf(
  { context, parts }: ProvenMessage,
  expected: { direction: string; key: string },
): string | undefined {
  const isRequest = context.direction === MessageDirection.request
  if (isRequest !== (expected.direction === 'request')) return `it is no ${expected.direction}`
  if (parts.key !== expected.key) return 'it is of another idempotency key'
  return isRequest || context.party === context.bankCode ? undefined : 'the response is not signed by its bank'
}

/** Whoever reads the file by eye must not be told anything else than what was signed. */
function problemOfFacts(inFile: EvidenceMessage, anew: EvidenceMessage): string | undefined {
  if (!isDeepStrictEqual(inFile.signature, anew.signature) || inFile.message !== anew.message)
    return 'the file does not spell the message as it must'
  const facts = JSON.parse(JSON.stringify(anew.facts)) as Record<string, unknown>
  const wrong = [...new Set([...Object.keys(inFile.facts), ...Object.keys(facts)])].find(
    (name) => !isDeepStrictEqual(inFile.facts[name], facts[name]),
  )
  return wrong === undefined ? undefined : `the file says another ${wrong} than what was signed`
}

function problemBetween(request: ProvenMessage | undefined, response: ProvenMessage): string | undefined {
  const { requestHash } = response.parts
  if (request === undefined) return requestHash === '' ? undefined : 'the request that the response names is missing'
  if (requestHash !== request.hash) return 'the response answers another request'
  const isSame =
    request.parts.method === response.parts.method &&
    request.parts.id === response.parts.id &&
    request.context.bankCode === response.context.bankCode &&
    request.context.sessionId.equals(response.context.sessionId)
  return isSame ? undefined : 'request and response differ in method, id, bank or session'
}

function reportOf(
  direction: 'request' | 'response',
  { context, parts, timeMs, key }: ProvenMessage,
  problem: string | undefined,
): MessageReport {
  return {
    direction,
    party: context.party,
    keyId: key.keyId,
    thumbprint: key.thumbprint,
    signedAt: new Date(timeMs).toISOString(),
    bankCode: context.bankCode,
    sessionId: context.sessionId.toString('hex'),
    method: parts.method,
    status: context.direction === MessageDirection.response ? parts.detail : undefined,
    payload: parts.payload,
    problem,
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value.slice(0, 128) : undefined
}
