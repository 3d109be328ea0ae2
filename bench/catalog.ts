import { spawn } from 'node:child_process'
import { accessSync, constants, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import type { BenchChild } from './child-process.ts'
import { endProcess } from './child-process.ts'
import { freePort, PLAIN, type Variant } from './daemons.ts'
import type { Endpoint } from './system.ts'
import type { World } from './world.ts'

/** A system that is up, and can be measured any number of times. */
export interface StartedSystem {
  readonly load: BenchChild
  readonly endpoint: Endpoint
  /** Processes beside the load, by what the table calls them. */
  readonly pids: Readonly<Record<string, number>>
}

export interface System {
  readonly name: string
  readonly title: string
  /** Why it cannot run here; undefined where it can. */
  whySkipped(): string | undefined
  start(world: World): Promise<StartedSystem>
}

/** It can run everywhere. */
const ALWAYS = () => undefined

function ours(
  name: string,
  title: string,
  options: { pair: string; variant: Variant; durable?: boolean; method?: string },
): System {
  const { pair, variant, durable = false, method = 'echo' } = options
  return {
    name,
    title,
    whySkipped: ALWAYS,
    start: async (world) => {
      const { ls, xchange, socketPath } = await world.pair(pair, variant)
      const endpoint = { tls: world.parties.xchange, socketPath, durable, method }
      return { load: world.child('systems/ours'), endpoint, pids: { ls: ls.pid, xchange: xchange.pid } }
    },
  }
}

function peer(name: string, title: string, module: string): System {
  return {
    name,
    title,
    whySkipped: ALWAYS,
    start: async (world) => {
      const server = world.child(module)
      const port = await server.serve({ tls: world.parties.ls })
      return {
        load: world.child(module),
        endpoint: { tls: world.parties.xchange, port },
        pids: { server: server.pid },
      }
    },
  }
}

const nats: System = {
  name: 'nats',
  title: 'NATS request/reply, TLS',
  whySkipped: () => (natsServerPath() === undefined ? 'nats-server is not installed (or set NATS_SERVER)' : undefined),
  start: async (world) => {
    const port = await freePort()
    const { keyFile, certFile, caFile } = world.parties.ls
    const configFile = join(world.dir, `nats-${port}.conf`)
    const file = (path: string) => JSON.stringify(path)
    writeFileSync(
      configFile,
      `listen: "127.0.0.1:${port}"\ntls { cert_file: ${file(certFile)}, key_file: ${file(keyFile)}, ca_file: ${file(caFile)}, verify: true }\n`,
    )
    const broker = spawn(natsServerPath() ?? '', ['-c', configFile], { stdio: 'ignore', detached: true })
    world.onStop(() => endProcess(broker))
    await untilListening(port)
    const responder = world.child('peers/nats')
    await responder.serve({ tls: world.parties.xchange, port })
    return {
      load: world.child('peers/nats'),
      endpoint: { tls: world.parties.xchange, port },
      pids: { broker: broker.pid ?? 0, responder: responder.pid },
    }
  },
}

/** Everything that can be measured, in the order of the table. */
export const SYSTEMS: readonly System[] = [
  ours('ours', 'ours, plain', { pair: 'plain', variant: PLAIN }),
  ours('ours-once', 'ours, once-only at the bank', { pair: 'plain', variant: PLAIN, method: 'echo-once' }),
  ours('ours-durable', 'ours, durable, once-only', {
    pair: 'plain',
    variant: PLAIN,
    durable: true,
    method: 'echo-once',
  }),
  ours('ours-security', 'ours, security stack', { pair: 'security', variant: { signing: 'batch', ilp: true } }),
  ours('ours-jws', 'ours, a JWS each message', { pair: 'jws', variant: { signing: 'each', ilp: true } }),
  peer('ws-echo', 'ws echo, bare', 'systems/ws-echo'),
  peer('ws-seal', 'ws, a seal each message', 'systems/ws-seal'),
  peer('grpc', 'grpc-js unary', 'peers/grpc'),
  peer('http2', 'node:http2', 'systems/http2'),
  peer('https', 'undici, https keep-alive', 'systems/https'),
  nats,
]

function natsServerPath(): string | undefined {
  const { NATS_SERVER, PATH = '' } = process.env
  if (NATS_SERVER !== undefined) return NATS_SERVER
  // Distributions put it where only root's PATH looks.
  const folders = [...PATH.split(delimiter), '/usr/sbin', '/usr/local/sbin', '/usr/local/bin']
  return folders.map((folder) => join(folder, 'nats-server')).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

const LISTENS_WITHIN_MS = 10_000
const RETRY_MS = 20

async function untilListening(port: number): Promise<void> {
  const deadlineMs = performance.now() + LISTENS_WITHIN_MS
  while (!(await accepts(port))) {
    if (performance.now() > deadlineMs) throw new Error(`nothing listens on port ${port}`)
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
