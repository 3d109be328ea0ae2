import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAuthority, type IssuedFiles, issueCertificate } from '../lib/certs/index.ts'
import { createSigningKeyFiles } from '../lib/message/jws/index.ts'
import { COMPILED } from './paths.ts'
import type { BankCode } from './workload.ts'

const LS_PARTY = 'ls'
const TRUST_DOMAIN = 'ls-xchange.test'
const LOCAL = ['127.0.0.1', '::1']
const DAY_MS = 86_400_000

/** Short, so that much happens in little time; the relations between them are those of the defaults. */
const TIMES = {
  kx: { timeoutMs: 1_500 },
  reconnect: { minDelayMs: 20, maxDelayMs: 400, stableAfterMs: 1_000, promptForMs: 15_000, dialTimeoutMs: 1_500 },
  drain: { timeoutMs: 2_000 },
}
const ECHO = { intervalMs: 800, timeoutMs: 500 }
const BRISK_LS = { start: { readyWithinMs: 1_000 }, health: { intervalMs: 2_000 }, echo: ECHO, ...TIMES }
const STORM_FRAMES = 8
const CALM_FRAMES = 20_000

/** `brisk`: the times above. `usual`: the defaults of the daemons. */
export type Pace = 'brisk' | 'usual'

export type Nodes = ReadonlyMap<'lsd' | BankCode, IssuedFiles>

/** A CA and a certificate for each party, valid since two days ago and for long enough not to expire soon: clocks will jump. */
export async function issueNodes(dir: string, banks: readonly BankCode[]): Promise<Nodes> {
  const nowMs = Date.now() - 2 * DAY_MS
  const common = { dir, dns: ['localhost'], ips: LOCAL, days: 90, nowMs }
  await createAuthority({ dir, trustDomain: TRUST_DOMAIN, nowMs })
  const nodes = new Map<'lsd' | BankCode, IssuedFiles>()
  nodes.set('lsd', await issueCertificate({ ...common, role: 'lsd' }))
  for (const bankCode of banks) nodes.set(bankCode, await issueCertificate({ ...common, role: 'xchange', bankCode }))
  for (const party of [LS_PARTY, ...banks]) createSigningKeyFiles({ ...signingFiles(dir, party), party })
  return nodes
}

/** Writes the configuration of lsd; 044 is dialled on `bankPort`, 058 dials. */
export function writeLsConfig(options: {
  dir: string
  nodes: Nodes
  bankPort: number
  /** Default: any that is free. */
  lsPort?: number
  rekeyStorm?: boolean
  pace?: Pace
}): string {
  const { dir, nodes, lsPort = 0, rekeyStorm = false, pace = 'brisk' } = options
  const bank = (code: BankCode) => ({ code, allow: LOCAL, identities: [partyOf(nodes, code).pinFile] })
  return writeConfig(join(dir, 'lsd.yaml'), {
    runtimeDir: join(dir, 'run'),
    storeDir: storeDirOf(dir, 'lsd'),
    trustDomain: TRUST_DOMAIN,
    ...filesOf(nodes, 'lsd'),
    listen: { host: '127.0.0.1', port: lsPort, allow: LOCAL },
    ...(pace === 'brisk' ? { ...BRISK_LS, rekey: { afterFrames: rekeyStorm ? STORM_FRAMES : CALM_FRAMES } } : {}),
    signing: signingFiles(join(dir, 'certs'), LS_PARTY),
    banks: [
      {
        ...bank('044'),

        dial: 'ls',
        host: '127.0.0.1',
        port: options.bankPort,
      },
      { ...bank('058'), dial: 'xchange' },
    ],
  })
}

/** Writes the configuration of a bank's node; 058 dials LS on `lsPort`, the others listen on `port`. */
export function writeXchangeConfig(options: {
  dir: string
  nodes: Nodes
  bank: BankCode
  lsPort: number
  port?: number
  pace?: Pace
}): string {
  const { dir, nodes, bank, port = 0, pace = 'brisk' } = options
  const dials = bank === '058'
  return writeConfig(join(dir, `xchanged-${bank}.yaml`), {
    bankCode: bank,
    storeDir: storeDirOf(dir, `xchanged-${bank}`),
    trustDomain: TRUST_DOMAIN,
    ...filesOf(nodes, bank),
    dial: dials ? 'xchange' : 'ls',
    ls: {
      identities: [partyOf(nodes, 'lsd').pinFile],
      allow: LOCAL,
      ...(dials ? { host: '127.0.0.1', port: options.lsPort } : {}),
    },
    ...(dials ? {} : { listen: { host: '127.0.0.1', port } }),
    ...(pace === 'brisk' ? TIMES : {}),
    signing: signingFiles(join(dir, 'certs'), bank),
    handlers: { modules: [COMPILED.ledgerExchange, COMPILED.blindExchange] },
  })
}

function signingFiles(dir: string, party: string): { readonly keyFile: string; readonly directory: string } {
  return { keyFile: join(dir, `${party}-jws.key`), directory: join(dir, 'jws-keys') }
}

export function storeDirOf(dir: string, daemon: string): string {
  return join(dir, 'stores', daemon)
}

/** JSON is YAML too. Replaced as one, because a daemon may be reading it. */
function writeConfig(file: string, config: Record<string, unknown>): string {
  writeFileSync(`${file}.new`, JSON.stringify(config, undefined, 2), { mode: 0o600 })
  renameSync(`${file}.new`, file)
  return file
}

function filesOf(nodes: Nodes, party: 'lsd' | BankCode): Record<string, unknown> {
  const { keyFile, certFile, caFile, identityFile } = partyOf(nodes, party)
  return { tls: { keyFile, certFile, caFile }, identityKeyFile: identityFile }
}

function partyOf(nodes: Nodes, party: 'lsd' | BankCode): IssuedFiles {
  const node = nodes.get(party)
  if (node === undefined) throw new Error(`no certificate was issued for ${party}`)
  return node
}
