import { LsxError } from '../../runtime/index.ts'
import {
  decodeBase64url,
  isValidAt,
  type JwsAlgorithm,
  parseJsonObject,
  type SigningKey,
  type VerificationCache,
  type VerificationKey,
} from '../jws/index.ts'
import { canonicalJson } from './canonical-json.ts'

/** Mojaloop's components take these two only. */
export const FSPIOP_ALGORITHMS = ['RS256', 'ES256'] as const satisfies readonly JwsAlgorithm[]

export interface FspiopRequest {
  /** HTTP method. */
  readonly method: string
  /** Path of the resource, with its query: `/transfers/…`. */
  readonly uri: string
  /** Who sends it, and for whom it is. */
  readonly source: string
  readonly destination?: string | undefined
  /** As in the Date header. */
  readonly date?: string | undefined
  /** Plain JSON values. */
  readonly body: unknown
}

export interface SignedFspiopRequest {
  /** Send exactly these headers, */
  readonly headers: Readonly<Record<string, string>>
  /** and exactly this body. */
  readonly body: string
}

/** Members of the protected header by the HTTP header that each repeats. */
const COVERED = {
  'fspiop-uri': 'FSPIOP-URI',
  'fspiop-http-method': 'FSPIOP-HTTP-Method',
  'fspiop-source': 'FSPIOP-Source',
  'fspiop-destination': 'FSPIOP-Destination',
  date: 'Date',
} as const
type CoveredHeader = keyof typeof COVERED

const REQUIRED: readonly CoveredHeader[] = ['fspiop-uri', 'fspiop-http-method', 'fspiop-source']
/** Never used here: they bring a key along or change what is signed. */
const REFUSED_MEMBERS = ['jwk', 'jku', 'x5c', 'x5u', 'x5t', 'x5t#S256', 'crit', 'b64', 'zip', 'enc']
const MAX_HEADER_CHARACTERS = 8_192

/**
 * Signs a request as Mojaloop's API does: JWS with detached content over the canonical body, its protected header
 * repeating the FSPIOP headers, both in the header FSPIOP-Signature as `{signature, protectedHeader}`.
 *
 * @throws LsxError BAD_REQUEST for a key or a body that cannot be used so
 */
export function signFspiop(request: FspiopRequest, key: SigningKey): SignedFspiopRequest {
  if (!isFspiopAlgorithm(key.algorithm))
    throw new LsxError('BAD_REQUEST', `FSPIOP signatures are made with ${FSPIOP_ALGORITHMS.join(' or ')}`, {
      party: 'self',
    })
  const { uri, source, destination, date } = request
  const covered: Partial<Record<CoveredHeader, string>> = {
    'fspiop-uri': uri,
    'fspiop-http-method': request.method.toUpperCase(),
    'fspiop-source': source,
    ...(destination === undefined ? {} : { 'fspiop-destination': destination }),
    ...(date === undefined ? {} : { date }),
  }
  const members = Object.entries(covered).map(([name, value]) => [COVERED[name as CoveredHeader], value])
  const protectedHeader = base64url(JSON.stringify({ alg: key.algorithm, ...Object.fromEntries(members) }))
  const body = canonicalJson(request.body)
  const signature = key.sign(signingInput(protectedHeader, body)).toString('base64url')
  return { headers: { ...covered, 'fspiop-signature': JSON.stringify({ protectedHeader, signature }) }, body }
}

/** Who finds keys: FSPIOP signatures name a party and no key. */
export interface PartyKeys {
  keysOf(party: string): readonly VerificationKey[]
}

export interface ReceivedFspiopRequest {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** As received. */
  readonly body: Buffer
  /** Method and URI of the HTTP request itself, where they are known: the headers must say the same. */
  readonly method?: string | undefined
  readonly uri?: string | undefined
}

export interface VerifiedFspiopRequest {
  readonly source: string
  readonly destination: string | undefined
  readonly key: VerificationKey
  readonly body: Readonly<Record<string, unknown>>
}

/**
 * Verifies a request with the keys that its FSPIOP-Source has at `nowMs`. The signature may cover the body's bytes as
 * they came, or their canonical form: a gateway may have written the body anew.
 *
 * @throws LsxError SIGNATURE_INVALID
 */
export function verifyFspiop(
  request: ReceivedFspiopRequest,
  options: { readonly keys: PartyKeys; readonly cache: VerificationCache; readonly nowMs: number },
): VerifiedFspiopRequest {
  const headers = coveredHeaders(request)
  const { protectedHeader, signature } = signatureHeader(single(request.headers, 'fspiop-signature'))
  const header = readProtectedHeader(protectedHeader)
  for (const [name, member] of Object.entries(COVERED)) {
    // One that is only here or only there could be put in or taken away without a trace.
    if (header[member] !== headers[name as CoveredHeader])
      throw invalid(`${member} is not the same in the protected header and in the HTTP header`)
  }
  const body = parseJsonObject(request.body)
  if (typeof body === 'string') throw invalid(`the body cannot be signed so: ${body}`)
  const source = headers['fspiop-source'] ?? ''
  const raw = request.body.toString('utf8')
  const canonical = canonicalJson(body)
  const texts = raw === canonical ? [raw] : [raw, canonical]
  for (const key of options.keys.keysOf(source)) {
    if (key.algorithm !== header.alg || !isFspiopAlgorithm(key.algorithm) || !isValidAt(key, options.nowMs)) continue
    if (texts.some((text) => options.cache.verify(key, signingInput(protectedHeader, text), signature)))
      return { source, destination: headers['fspiop-destination'], key, body }
  }
  throw invalid(`it does not verify with any key that ${source} has now`)
}

function coveredHeaders({ headers, method, uri }: ReceivedFspiopRequest): Partial<Record<CoveredHeader, string>> {
  const covered: Partial<Record<CoveredHeader, string>> = {}
  for (const name of Object.keys(COVERED) as CoveredHeader[]) {
    const value = single(headers, name)
    if (value !== undefined) covered[name] = value
    else if (REQUIRED.includes(name)) throw invalid(`the header ${name} is missing`)
  }
  if (method !== undefined && covered['fspiop-http-method'] !== method.toUpperCase())
    throw invalid('FSPIOP-HTTP-Method is not the method of the request')
  if (uri !== undefined && covered['fspiop-uri'] !== uri) throw invalid('FSPIOP-URI is not the URI of the request')
  return covered
}

/** Names of HTTP headers know no case; one that comes twice, or more than once under different cases, counts as wrong. */
function single(headers: ReceivedFspiopRequest['headers'], wanted: string): string | undefined {
  const values = Object.entries(headers).flatMap(([name, value]) =>
    name.toLowerCase() === wanted && value !== undefined ? value : [],
  )
  if (values.length > 1) throw invalid(`the header ${wanted} comes more than once`)
  return values[0]
}

function signatureHeader(text: string | undefined): { protectedHeader: string; signature: Buffer } {
  if (text === undefined) throw invalid('the header fspiop-signature is missing')
  if (text.length > MAX_HEADER_CHARACTERS) throw invalid('the header fspiop-signature is too long')
  const members = parseJsonObject(Buffer.from(text))
  if (typeof members === 'string') throw invalid(`the header fspiop-signature cannot be read: ${members}`)
  const { protectedHeader, signature: encoded } = members
  const signature = typeof encoded === 'string' ? decodeBase64url(encoded) : undefined
  if (typeof protectedHeader !== 'string' || signature === undefined || signature.length === 0)
    throw invalid('the header fspiop-signature has no protectedHeader or no signature in plain base64url')
  return { protectedHeader, signature }
}

function readProtectedHeader(encoded: string): Record<string, unknown> {
  const bytes = decodeBase64url(encoded)
  const header = bytes === undefined ? 'it is not plain base64url' : parseJsonObject(bytes)
  if (typeof header === 'string') throw invalid(`the protected header cannot be read: ${header}`)
  const refused = REFUSED_MEMBERS.find((name) => Object.hasOwn(header, name))
  if (refused !== undefined) throw invalid(`the protected header has the member "${refused}", which is never used here`)
  return header
}

function isFspiopAlgorithm(algorithm: JwsAlgorithm): boolean {
  return (FSPIOP_ALGORITHMS as readonly string[]).includes(algorithm)
}

function signingInput(protectedHeader: string, body: string): Buffer {
  return Buffer.from(`${protectedHeader}.${base64url(body)}`, 'latin1')
}

function base64url(text: string): string {
  return Buffer.from(text).toString('base64url')
}

function invalid(problem: string): LsxError {
  return new LsxError('SIGNATURE_INVALID', `an FSPIOP signature is refused: ${problem}`)
}
