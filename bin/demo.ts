import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, createWriteStream, existsSync, mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { connect, type LsClient, type Reply } from '../lib/ipc/index.ts'
import { sleep, systemClock } from '../lib/runtime/index.ts'

/** The demo: an LS with two banks on this machine, from nothing to a channel that came back by itself. */

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const RUN_DIR = process.env.LSX_RUNTIME_DIR ?? join(ROOT, 'run')
const CERTS_DIR = process.env.LSX_CERTS_DIR ?? join(ROOT, 'certs')
const READY_WITHIN_MS = 20_000

interface Daemon {
  readonly name: string
  readonly process: ChildProcess
  readonly exited: Promise<void>
}

const running = new Set<Daemon>()

function say(text = ''): void {
  process.stdout.write(`${text}\n`)
}

function step(text: string): void {
  say(`\n== ${text}`)
}

function program(name: string): string {
  return join(ROOT, 'dist', 'bin', `${name}.js`)
}

/** Starts a daemon with its log in the runtime directory; resolves when its log says that it is ready. */
async function startDaemon(name: string, file: string, config: string, env: Record<string, string>): Promise<Daemon> {
  const child = spawn(process.execPath, [program(file), '--config', join(ROOT, 'config', config)], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A process group of its own: Ctrl-C reaches the demo, which then stops the daemons in order.
    detached: true,
  })
  const log = createWriteStream(join(RUN_DIR, `${name}.log`), { flags: 'a' })
  child.stderr?.pipe(log, { end: false })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const daemon: Daemon = { name, process: child, exited }
  running.add(daemon)
  void exited.then(() => {
    running.delete(daemon)
    log.end()
  })
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${name} was not ready within ${READY_WITHIN_MS} ms`)),
      READY_WITHIN_MS,
    )
    if (child.stdout === null) return
    createInterface(child.stdout).on('line', (line) => {
      log.write(`${line}\n`)
      if (line.includes('"notify":"READY=1"')) {
        clearTimeout(timer)
        resolve()
      }
    })
    child.once('exit', (code) => {
      clearTimeout(timer)
      reject(new Error(`${name} ended with ${code}; see ${join(RUN_DIR, `${name}.log`)}`))
    })
  })
  return daemon
}

async function lsctl(...words: string[]): Promise<number> {
  const child = spawn(process.execPath, [program('lsctl'), '--runtime-dir', RUN_DIR, ...words], { stdio: 'inherit' })
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)))
}

/** A command of the demo that must not fail. */
async function mustRun(...words: string[]): Promise<void> {
  const code = await lsctl(...words)
  if (code !== 0) throw new Error(`lsctl ${words.join(' ')} ended with ${code}`)
}

async function makeCertificates(): Promise<void> {
  if (!existsSync(join(CERTS_DIR, 'ca.key'))) await mustRun('certs', 'init', '--dir', CERTS_DIR)
  const isIssued = (party: string) => ['tls.crt', 'jws.key'].every((name) => existsSync(join(CERTS_DIR, party, name)))
  if (!isIssued('lsd')) await mustRun('certs', 'issue', 'lsd', '--dir', CERTS_DIR)
  for (const bank of ['044', '058']) {
    if (!isIssued(bank)) await mustRun('certs', 'issue', 'xchange', bank, '--dir', CERTS_DIR)
  }
}

/** `wanted` if nobody listens there, else any free port. */
async function freePort(wanted: number): Promise<number> {
  const listen = (port: number) =>
    new Promise<number | undefined>((resolve) => {
      const server = createServer()
      server.once('error', () => resolve(undefined))
      server.listen(port, '127.0.0.1', () => {
        const address = server.address()
        server.close(() => resolve(typeof address === 'object' ? address?.port : undefined))
      })
    })
  const port = (await listen(wanted)) ?? (await listen(0))
  if (port === undefined) throw new Error('no free port on 127.0.0.1')
  return port
}

function describe(reply: Reply): string {
  const payload = reply.payload === undefined ? '' : ` ${JSON.stringify(reply.payload)}`
  return `${reply.outcome}${reply.code === undefined ? '' : ` (${reply.code})`} in ${reply.ms.toFixed(1)} ms${payload}`
}

async function ask(ls: LsClient, to: string, method: string, payload: unknown): Promise<Reply> {
  const reply = await ls.request({
    to,
    method,
    payload,
    timeoutMs: 15_000,
    onPending: () => say(`   bank ${to} ${method}: pending (KEY_PENDING)`),
  })
  say(`   bank ${to} ${method}: ${describe(reply)}`)
  return reply
}

function mustBeAnswered(replies: readonly Reply[]): void {
  if (replies.some((reply) => reply.outcome !== 'answered' || reply.code !== undefined)) {
    throw new Error('a request that should have been answered was not')
  }
}

async function stopAll(): Promise<void> {
  const order = ['lsd', 'xchanged-044', 'xchanged-058']
  const daemons = [...running].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
  for (const daemon of daemons) {
    daemon.process.kill('SIGTERM')
    await daemon.exited
    say(`   ${daemon.name} stopped (exit ${daemon.process.exitCode ?? daemon.process.signalCode})`)
  }
}

async function show(): Promise<void> {
  mkdirSync(RUN_DIR, { recursive: true, mode: 0o750 })
  // A clone made with an umask of 002 has files that the group can write, and the daemons refuse those.
  for (const file of ['ls.yaml', 'xchange.yaml']) chmodSync(join(ROOT, 'config', file), 0o644)
  step('certificates and identities for LS and two banks (044, 058)')
  await makeCertificates()
  say(`   in ${relative(process.cwd(), CERTS_DIR) || CERTS_DIR}`)

  step('starting two xchanges and the LS')
  const ports = {
    LSX_LS_PORT: String(await freePort(Number(process.env.LSX_LS_PORT ?? 7443))),
    LSX_BANK_044_PORT: String(await freePort(Number(process.env.LSX_BANK_044_PORT ?? 7044))),
  }
  const bank044 = {
    ...ports,
    XCHANGE_BANK: '044',
    XCHANGE_PORT: ports.LSX_BANK_044_PORT,
    XCHANGE_STORE_DIR: join(RUN_DIR, 'xchange-044-store'),
  }
  const bank058 = {
    ...ports,
    XCHANGE_BANK: '058',
    XCHANGE_DIAL: 'xchange',
    XCHANGE_PORT: String(await freePort(7058)),
    XCHANGE_STORE_DIR: join(RUN_DIR, 'xchange-058-store'),
  }
  const reconnect = { LSX_RECONNECT_MAX_MS: '1000' }
  const first = await startDaemon('xchanged-044', 'xchanged', 'xchange.yaml', bank044)
  await startDaemon('lsd', 'lsd', 'ls.yaml', { ...ports, ...reconnect })
  await startDaemon('xchanged-058', 'xchanged', 'xchange.yaml', bank058)
  await sleep(systemClock, 300)
  await mustRun('status')

  const ls = await connect(join(RUN_DIR, 'ls.sock'))
  step('requests through the unix socket, routed to both banks')
  mustBeAnswered([
    await ask(ls, '044', 'balance', { account: '0123456789' }),
    await ask(ls, '058', 'balance', { account: '9876543210' }),
    await ask(ls, '044', 'transfer', {
      from: '0123456789',
      to: '9876543210',
      amountMinor: 250_000,
      currency: 'NGN',
      reference: 'demo',
    }),
    await ask(ls, '044', 'statement', { account: '0123456789', limit: 1 }),
  ])
  await ask(ls, '058', 'no-such-method', {})
  await ask(ls, '999', 'balance', {})

  step("killing bank 044's xchange with SIGKILL; a request comes while it is away")
  first.process.kill('SIGKILL')
  await first.exited
  await sleep(systemClock, 200)
  const waiting = ask(ls, '044', 'balance', { account: '0123456789' })
  await sleep(systemClock, 300)
  const restartedAtMs = systemClock.monotonicMs()
  await startDaemon('xchanged-044', 'xchanged', 'xchange.yaml', bank044)
  mustBeAnswered([await waiting])
  say(
    `   the channel came back by itself: ${(systemClock.monotonicMs() - restartedAtMs).toFixed(0)} ms from starting the process to the answer`,
  )

  step('new keys on the same sockets')
  await mustRun('rekey', '--all')
  mustBeAnswered([
    await ask(ls, '044', 'balance', { account: '0123456789' }),
    await ask(ls, '058', 'balance', { account: '9876543210' }),
  ])

  step('status and uptime of both')
  await mustRun('status')
  await mustRun('uptime', '--since', '1h')
  ls.close()
}

function tellWhatToTry(): void {
  const socket = relative(process.cwd(), join(RUN_DIR, 'ls.sock')) || join(RUN_DIR, 'ls.sock')
  step('running until Ctrl-C; from another terminal try:')
  say('   ./bin/lsctl status --watch')
  say(`   ./bin/lsctl send 044 balance '{"account":"0123456789"}'`)
  say('   ./bin/lsctl uptime --follow')
  say('   ./bin/lsctl drop 044')
  say(
    `   printf '{"op":"request","id":1,"to":"044","method":"balance","payload":{"account":"0123456789"}}\\n' | nc -U ${socket}`,
  )
  say(`   tail -F ${relative(process.cwd(), join(RUN_DIR, 'uptime.log'))}`)
}

async function main(): Promise<number> {
  const once = process.argv.includes('--once')
  let interrupted: () => void = () => {}
  const interruption = new Promise<void>((resolve) => {
    interrupted = resolve
  })
  process.on('SIGINT', () => interrupted())
  process.on('SIGTERM', () => interrupted())
  try {
    const shown = show()
    // Ctrl-C in the middle ends the demo; what it was doing then fails unheard.
    shown.catch(() => {})
    const ended = await Promise.race([shown.then(() => true), interruption.then(() => false)])
    if (ended && !once) {
      tellWhatToTry()
      await interruption
    }
  } finally {
    step('stopping')
    await stopAll()
  }
  return 0
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  },
)
