import { join } from 'node:path'
import type { LsStartOptions, Overrides, TestBank, XchangeStartOptions } from './daemon-types.ts'
import { DIST } from './once.ts'
import type { TestNode } from './pki.ts'

/** Times of the beds, ms: an echo long enough not to disturb, everything else short. A test overrides what it is about. */
export const SHORT_TIMES: Overrides = {
  echo: { intervalMs: 10_000 },
  kx: { timeoutMs: 2_000 },
  reconnect: { minDelayMs: 5, maxDelayMs: 50, dialTimeoutMs: 2_000 },
  drain: { timeoutMs: 200 },
}

const LOOPBACK = ['127.0.0.1', '::1']

/** What a configuration needs to know of its bed. */
export interface ConfigFacts {
  readonly trustDomain: string
  /** Directory of the daemon's store and sockets. */
  readonly home: string
  /** Whose certificate and identity the daemon has. */
  readonly node: TestNode
  readonly times: Overrides
}

export function lsConfig(
  facts: ConfigFacts,
  banks: readonly (TestBank & { readonly pin: string; readonly port: number })[],
  options: LsStartOptions,
): Overrides {
  const { home, node, trustDomain, times } = facts
  const config = {
    runtimeDir: join(home, 'run'),
    storeDir: join(home, 'store'),
    logLevel: 'debug',
    trustDomain,
    tls: tlsOf(node),
    identityKeyFile: node.identityFile,
    listen: { host: '127.0.0.1', port: 0, allow: LOOPBACK },
    start: { readyWithinMs: 2_000 },
    health: { intervalMs: 0 },
    ...times,
    banks: banks.map(({ code, dial, pin, port }) => ({
      code,
      dial,
      ...(dial === 'ls' ? { host: '127.0.0.1', port: options.ports?.[code] ?? port } : {}),
      allow: LOOPBACK,
      identities: [pin],
      ...options.banks?.[code],
    })),
  }
  return merged(config, options.config)
}

export function xchangeConfig(
  facts: ConfigFacts,
  bank: TestBank & { readonly lsPin: string; readonly lsPort: number },
  options: XchangeStartOptions,
): Overrides {
  const { home, node, trustDomain, times } = facts
  const { code, dial, lsPin, lsPort } = bank
  const { kx, reconnect, drain } = times
  const config = {
    bankCode: code,
    storeDir: join(home, 'store'),
    logLevel: 'debug',
    trustDomain,
    tls: tlsOf(node),
    identityKeyFile: node.identityFile,
    dial,
    ls: {
      identities: [lsPin],
      allow: LOOPBACK,
      ...(dial === 'xchange' ? { host: '127.0.0.1', port: options.port ?? lsPort } : {}),
    },
    ...(dial === 'ls' ? { listen: { host: '127.0.0.1', port: options.port ?? 0 } } : {}),
    kx,
    reconnect,
    drain,
    handlers: { modules: [join(DIST, 'test', 'support', 'test-exchange.js')] },
  }
  return merged(config, options.config)
}

/** Sections are laid over each other; arrays and values replace. */
export function merged(base: Overrides, over: Overrides = {}): Overrides {
  const result: Record<string, unknown> = { ...base }
  for (const [option, value] of Object.entries(over)) {
    const before = result[option]
    result[option] = isSection(before) && isSection(value) ? merged(before, value) : value
  }
  return result
}

function isSection(value: unknown): value is Overrides {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function tlsOf({ keyFile, certFile, caFile }: TestNode): Overrides {
  return { keyFile, certFile, caFile }
}
