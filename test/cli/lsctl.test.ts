import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { decodePayload, encodePayload } from '../../lib/ipc/index.ts'
import { DAEMON_STATUS } from '../support/bank-status.ts'
import { ok, startScriptedDaemon } from '../support/scripted-daemon.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/lsctl.js', import.meta.url))
const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const WRAPPER = join(ROOT, 'bin', 'lsctl')

interface Ended {
  readonly out: string
  readonly err: string
  readonly exitCode: number | null
}

function ended(child: ChildProcess): Promise<Ended> {
  let out = ''
  let err = ''
  child.stdout?.on('data', (chunk) => {
    out += chunk
  })
  child.stderr?.on('data', (chunk) => {
    err += chunk
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (exitCode) => resolve({ out, err, exitCode }))
  })
}

function run(program: string, args: readonly string[]): Promise<Ended> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  return ended(child)
}

t.test('the program: help, version, wrong use', async (t) => {
  const [help, version, unknown] = await Promise.all([
    run(process.execPath, [PROGRAM, '--help']),
    run(process.execPath, [PROGRAM, '--version']),
    run(process.execPath, [PROGRAM, 'unknown']),
  ])
  t.equal(help.exitCode, 0)
  t.match(help.out, /^Usage: lsctl/)
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  t.equal(version.out, `${manifest.version}\n`)
  t.equal(unknown.exitCode, 2)
  t.match(unknown.err, /^lsctl: unknown command 'unknown'/)
  t.equal(unknown.out, '')
})

t.test('standard input and the exit code go through the process', async (t) => {
  const lsd = await startScriptedDaemon(t, {
    request: ({ payload, key }) => ({ outcome: 'answered', payload, code: 'HANDLER_FAILED', key, ms: 1 }),
  })
  const child = spawn(process.execPath, [PROGRAM, 'send', '044', 'echo', '-', '--json'], {
    env: { ...process.env, LSX_RUNTIME_DIR: lsd.runtimeDir },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  child.stdin?.end('{"a":[1,')
  const { out, exitCode, err } = await ended(child)
  t.equal(exitCode, 2, 'half a payload')
  t.equal(out, '')
  t.match(err, 'BAD_REQUEST')
  const whole = spawn(process.execPath, [PROGRAM, 'send', '044', 'echo', '-', '--json'], {
    env: { ...process.env, LSX_RUNTIME_DIR: lsd.runtimeDir },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  t.teardown(() => whole.kill('SIGKILL'))
  whole.stdin?.write('{"a":[1,')
  whole.stdin?.end('2]}')
  const answer = await ended(whole)
  t.equal(answer.exitCode, 1)
  t.match(JSON.parse(answer.out), { outcome: 'answered', payload: { a: [1, 2] } })
  t.strictSame(decodePayload(lsd.asked[0]?.payload as Buffer), { a: [1, 2] })
  t.strictSame(lsd.asked[0]?.payload, encodePayload({ a: [1, 2] }))
})

t.test('Ctrl-C, and a reader that leaves, end a watch cleanly', async (t) => {
  const lsd = await startScriptedDaemon(t, { status: ok({ daemon: DAEMON_STATUS, banks: [] }) })
  const watch = (): ChildProcess => {
    const line = [PROGRAM, '--runtime-dir', lsd.runtimeDir, 'status', '--watch', '--json']
    const child = spawn(process.execPath, line, { stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    return child
  }
  const interrupted = watch()
  interrupted.stdout?.once('data', () => interrupted.kill('SIGINT'))
  t.match(await ended(interrupted), { exitCode: 0, err: '', out: /^\{.+\}\n$/ })
  const unread = watch()
  unread.stdout?.once('data', () => unread.stdout?.destroy())
  t.match(await ended(unread), { exitCode: 0, err: '' })
})

t.test('the wrapper finds its program through symbolic links, and says when it is not built', async (t) => {
  const dir = t.testdir({ links: {}, other: {} })
  symlinkSync(WRAPPER, join(dir, 'links', 'absolute'))
  symlinkSync('../links/absolute', join(dir, 'other', 'relative'))
  t.match(await run(join(dir, 'other', 'relative'), ['--version']), { exitCode: 0, err: '' })

  mkdirSync(join(dir, 'unbuilt', 'bin'), { recursive: true })
  const unbuilt = join(dir, 'unbuilt', 'bin', 'lsctl')
  copyFileSync(WRAPPER, unbuilt)
  chmodSync(unbuilt, 0o755)
  const { exitCode, err } = await run(unbuilt, ['status'])
  t.equal(exitCode, 69)
  t.equal(err, 'lsctl: not built yet; run: npm install && npm run build\n')
})
