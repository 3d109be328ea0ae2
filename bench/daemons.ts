import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createAuthority, issueCertificate } from '../lib/certs/index.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const READY_WITHIN_MS = 30_000

/** A switch and one bank as real processes, with certificates of their own, in a directory that goes with them. */
export interface BenchDaemons {
  readonly socketPath: string
  readonly ls: ChildProcess
  readonly xchange: ChildProcess
  stop(): Promise<void>
}

export async function startDaemons(): Promise<BenchDaemons> {
  const dir = mkdtempSync(join(tmpdir(), 'lsx-bench-'))
  const certs = join(dir, 'certs')
  await createAuthority({ dir: certs, trustDomain: 'ls-xchange.test' })
  await issueCertificate({ dir: certs, role: 'lsd' })
  for (const bankCode of ['044', '058']) await issueCertificate({ dir: certs, role: 'xchange', bankCode })
  const env = {
    LSX_RUNTIME_DIR: join(dir, 'run'),
    LSX_CERTS_DIR: certs,
    LSX_LOG_LEVEL: 'info',
    LSX_LS_PORT: String(await freePort()),
    LSX_BANK_044_PORT: String(await freePort()),
    XCHANGE_BANK: '044',
    XCHANGE_STORE_DIR: join(dir, 'xchange-store'),
  }
  const xchange = await start('xchanged', 'xchange.yaml', { ...env, XCHANGE_PORT: env.LSX_BANK_044_PORT })
  const ls = await start('lsd', 'ls.yaml', env)
  return {
    socketPath: join(env.LSX_RUNTIME_DIR, 'ls.sock'),
    ls,
    xchange,
    stop: async () => {
      await Promise.all([ls, xchange].map(stopped))
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

function start(program: string, config: string, env: Record<string, string>): Promise<ChildProcess> {
  const file = join(ROOT, 'dist', 'bin', `${program}.js`)
  const child = spawn(process.execPath, [file, '--config', join(ROOT, 'config', config)], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${program} is not ready after ${READY_WITHIN_MS} ms`)),
      READY_WITHIN_MS,
    )
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (!line.includes('"notify":"READY=1"')) return
      clearTimeout(timer)
      resolve(child)
    })
    child.once('exit', (code) => {
      clearTimeout(timer)
      reject(new Error(`${program} ended with ${code}`))
    })
  })
}

function stopped(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill('SIGTERM')
  })
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error('no port')),
      )
    })
  })
}
