import { join } from 'node:path'
import {
  type CertificateRole,
  createAuthority,
  type IssuedFiles,
  issueCertificate,
  loadTlsMaterial,
  type TlsMaterial,
} from '../../lib/certs/index.ts'

const DAY_MS = 86_400_000

export interface TestIssueOptions {
  /** Default the first; the second has the same name and trust domain, but another key. */
  readonly authority?: 'first' | 'second'
  /** Ended yesterday. */
  readonly expired?: boolean
  /** Issued as if at this wall time, for the given days. */
  readonly nowMs?: number
  readonly days?: number
  readonly dns?: readonly string[]
  readonly ips?: readonly string[]
  /**
   * Directory below the PKI's own. Issuing again into the same one keeps the identity. Default: `lsd` or the bank code, with
   * `-second` and `-expired` behind it. For a wrong-bank node: issue for another bank, here.
   */
  readonly folder?: string
}

export interface TestNode extends IssuedFiles {
  /** Loaded as of the time of issue, so also when it has expired. */
  readonly material: TlsMaterial
}

export interface TestPki {
  readonly trustDomain: string
  readonly caFile: string
  readonly secondCaFile: string
  issue(role: CertificateRole, bankCode?: string, options?: TestIssueOptions): Promise<TestNode>
}

/** Two CAs below `dir` that issue for 127.0.0.1, ::1 and localhost unless asked otherwise. */
export async function createTestPki(dir: string): Promise<TestPki> {
  const trustDomain = 'ls-xchange.test'
  const startedMs = Date.now()
  const authorities = { first: join(dir, 'first-ca'), second: join(dir, 'second-ca') }
  // Begun long ago, so that it could have issued what has expired since.
  const nowMs = startedMs - 30 * DAY_MS
  const first = await createAuthority({ dir: authorities.first, trustDomain, nowMs })
  const second = await createAuthority({ dir: authorities.second, trustDomain, nowMs })

  return {
    trustDomain,
    caFile: first.certFile,
    secondCaFile: second.certFile,
    async issue(role, bankCode, options = {}) {
      const { authority = 'first', expired = false } = options
      const suffixes = [authority === 'second' ? '-second' : '', expired ? '-expired' : ''].join('')
      const issuedMs = options.nowMs ?? (expired ? startedMs - 3 * DAY_MS : startedMs)
      const issued = await issueCertificate({
        dir: authorities[authority],
        role,
        ...(bankCode === undefined ? {} : { bankCode }),
        dns: options.dns ?? ['localhost'],
        ips: options.ips ?? ['127.0.0.1', '::1'],
        days: options.days ?? (expired ? 2 : 7),
        nowMs: issuedMs,
        outDir: join(dir, options.folder ?? `${bankCode ?? 'lsd'}${suffixes}`),
      })
      return { ...issued, material: loadTlsMaterial(issued, issuedMs) }
    },
  }
}
