import type { X509Certificate } from 'node:crypto'

/** One name of a certificate, as the certificate's issuer wrote it, unescaped. */
export interface AltName {
  readonly type: string
  readonly value: string
  /** Node quotes a value that holds characters by which it could pose as several names. */
  readonly quoted: boolean
}

const MAX_TEXT_LENGTH = 16 * 1024
const TYPES: readonly string[] = [
  'DNS',
  'URI',
  'IP Address',
  'email',
  'DirName',
  'Registered ID',
  'othername',
  'X400Name',
  'EdiPartyName',
]
/** SPIFFE-ID section 2: no port, user, query, fragment, percent-encoding or empty segment. */
const SPIFFE_ID = /^spiffe:\/\/[a-z0-9._-]{1,255}(?:\/[A-Za-z0-9._-]+)*$/
const MAX_SPIFFE_ID_LENGTH = 2048

/**
 * The SPIFFE id of a certificate: its only URI name, if it has exactly one and that is a valid id (X509-SVID section 2).
 * Anything odd gives undefined. It says who the certificate names; that the certificate is valid is for TLS to prove.
 */
export function spiffeIdOf(certificate: X509Certificate): string | undefined {
  const names = parseSubjectAltName(certificate.subjectAltName ?? '')
  const uris = names?.filter((name) => name.type === 'URI') ?? []
  const [uri] = uris
  if (uri === undefined || uris.length > 1 || uri.quoted || !isSpiffeId(uri.value)) return undefined
  return uri.value
}

/** Shape only; whose id it is, the caller compares. */
export function isSpiffeId(text: string): boolean {
  if (text.length > MAX_SPIFFE_ID_LENGTH || !SPIFFE_ID.test(text)) return false
  return !text.split('/').some((segment) => segment === '.' || segment === '..')
}

/**
 * Takes apart the text that node:crypto makes of the extension: `TYPE:value, TYPE:value`, where a value with special
 * characters is a JSON string. Never splits at a comma inside a string (CVE-2021-44532 was that). Undefined when the
 * text is not exactly of this form.
 */
export function parseSubjectAltName(text: string): readonly AltName[] | undefined {
  if (text.length > MAX_TEXT_LENGTH) return undefined
  const names: AltName[] = []
  let position = 0
  while (position < text.length) {
    const colon = text.indexOf(':', position)
    const type = text.slice(position, colon)
    if (colon === -1 || !TYPES.includes(type)) return undefined
    const quoted = text[colon + 1] === '"'
    const end = quoted ? endOfString(text, colon + 1) : endOfPlain(text, colon + 1)
    const raw = text.slice(colon + 1, end)
    const value = quoted ? unquote(raw) : raw
    if (value === undefined || (!quoted && raw.includes('"'))) return undefined
    names.push({ type, value, quoted })
    if (end === text.length) return names
    if (text.slice(end, end + 2) !== ', ') return undefined
    position = end + 2
  }
  // Empty, or it ended in a separator.
  return undefined
}

function endOfPlain(text: string, start: number): number {
  const comma = text.indexOf(',', start)
  return comma === -1 ? text.length : comma
}

/** Offset after the closing quote; the length of the text when there is none, which JSON.parse then refuses. */
function endOfString(text: string, start: number): number {
  for (let index = start + 1; index < text.length; index++) {
    if (text[index] === '\\') index++
    else if (text[index] === '"') return index + 1
  }
  return text.length
}

function unquote(raw: string): string | undefined {
  try {
    const value: unknown = JSON.parse(raw)
    return typeof value === 'string' ? value : undefined
  } catch {
    return undefined
  }
}
