import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runProgram } from '../../lib/cli/index.ts'
import { DAEMON_STATUS } from '../support/bank-status.ts'
import { createRecordingIo, type RecordingIo, type RecordingIoOptions } from '../support/recording-io.ts'
import { ok, startScriptedDaemon } from '../support/scripted-daemon.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const ASKING_LSD: readonly (readonly string[])[] = [
  ['send', '044', 'balance'],
  ['status'],
  ['status', '--watch'],
  ['uptime'],
  ['uptime', '--follow'],
  ['rekey', '--all'],
  ['drop', '044'],
  ['drain'],
  ['quarantine', '044', '--reason', 'x'],
  ['resume', '044'],
  ['reload'],
]

async function lsctl(line: readonly string[], options?: RecordingIoOptions): Promise<RecordingIo> {
  const io = createRecordingIo(options)
  await runProgram(io, line, '1.2.3')
  return io
}

t.test('without lsd every command says where it looked and how to start it', async (t) => {
  const dir = join(tmpdir(), `lsctl-none-${process.pid}`)
  for (const line of ASKING_LSD) {
    const socket = join(dir, line[0] === 'send' ? 'ls.sock' : 'ls-admin.sock')
    const people = await lsctl(['--runtime-dir', dir, ...line])
    t.equal(people.exitCode, 6, line.join(' '))
    t.equal(
      people.err,
      `lsctl: lsd is not reachable at ${socket}: there is no socket; start it with: lsd --config config/ls.yaml, ` +
        'or say where it runs with --runtime-dir or LSX_RUNTIME_DIR (CHANNEL_DOWN)\n',
    )
    t.equal(people.out, '')
    const scripts = await lsctl([...line, '--json', '--runtime-dir', dir])
    t.equal(scripts.exitCode, 6)
    t.match(JSON.parse(scripts.err), { code: 'CHANNEL_DOWN', message: RegExp(socket), advice: /lsd --config/ })
  }
})

t.test('a socket that nobody listens on, and an lsd that says nothing', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'lsctl-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const server = createServer((socket) => socket.resume())
  await new Promise<void>((resolve) => server.listen(join(dir, 'ls-admin.sock'), resolve))
  t.teardown(() => server.close())
  const accepted = new Promise<void>((resolve) => server.once('connection', () => resolve()))
  const clock = new VirtualClock()
  const io = createRecordingIo({ clock })
  const running = runProgram(io, ['status', '--runtime-dir', dir], '1.2.3')
  await accepted
  while (clock.pendingTimers === 0) await new Promise((resolve) => setImmediate(resolve))
  await clock.advance(60_000)
  await running
  t.match(io.err, /^lsctl: lsd does not answer at .+ls-admin\.sock; its log says more \(DEADLINE_EXCEEDED\)\n$/)
  t.equal(io.exitCode, 6)
})

t.test('lsd that ends before it answers', async (t) => {
  const lsd = await startScriptedDaemon(t, {
    status: (_, connection) => {
      connection.close()
      return undefined
    },
  })
  const io = await lsd.run(['status'])
  t.equal(io.exitCode, 6)
  t.match(io.err, 'lsd closed the connection')
})

t.test('Ctrl-C before the answer ends quietly with 130', async (t) => {
  const ctrlC = new AbortController()
  const lsd = await startScriptedDaemon(t, {
    reload: () => {
      ctrlC.abort()
      return undefined
    },
  })
  const io = await lsd.run(['reload'], { interrupt: ctrlC.signal })
  t.equal(io.exitCode, 130)
  t.equal(io.err, '')
})

t.test('the runtime directory: the option, else LSX_RUNTIME_DIR, else ./run', async (t) => {
  const lsd = await startScriptedDaemon(t, { status: ok({ daemon: DAEMON_STATUS, banks: [] }) })
  const env = { LSX_RUNTIME_DIR: lsd.runtimeDir }
  t.equal((await lsctl(['status'], { env })).exitCode, undefined)
  t.equal((await lsctl(['status', '--runtime-dir', '/nowhere'], { env })).exitCode, 6)
  const bare = await lsctl(['drop', '044'], { env: { LSX_RUNTIME_DIR: '' } })
  t.match(bare.err, `${join(process.cwd(), 'run', 'ls-admin.sock')}`)
})

t.test('global options stand before or behind the command, in every group', async (t) => {
  const dir = t.testdir()
  for (const line of [
    ['--json', 'certs', 'check', '--dir', dir],
    ['certs', 'check', '--dir', dir, '--json'],
    ['certs', '--json', 'check', '--dir', dir],
  ]) {
    t.match(JSON.parse((await lsctl(line)).out), { ok: false }, line.join(' '))
  }
  t.match((await lsctl(['certs', 'check', '--dir', dir])).out, /^FILE /)
})

t.test('wrong use has exit code 2, in words or as JSON', async (t) => {
  for (const line of [
    ['unknown'],
    ['--unknown'],
    ['status', '--unknown'],
    ['status', 'a', 'b'],
    ['certs', 'unknown'],
  ]) {
    const people = await lsctl(line)
    t.equal(people.exitCode, 2, line.join(' '))
    t.match(people.err, /^lsctl: .+; see lsctl --help \(BAD_REQUEST\)\n$/)
    const scripts = await lsctl([...line, '--json'])
    t.equal(scripts.exitCode, 2)
    t.match(JSON.parse(scripts.err), { code: 'BAD_REQUEST', party: 'caller' })
  }
  t.match((await lsctl(['statsu'])).err, 'Did you mean status?')
  for (const line of [[], ['certs']]) {
    const bare = await lsctl(line)
    t.equal(bare.exitCode, 2)
    t.match(bare.err, /^Usage: lsctl/)
  }
})

t.test('every command has help with an example', async (t) => {
  const help = await lsctl(['--help'])
  t.equal(help.exitCode, 0)
  t.match(help.out, /Exit codes: 0 ok, 1 .+ 2 .+ 3 .+ 4 .+ 5 .+\n6 .+/)
  const commands = [
    ...ASKING_LSD.map(([name = '']) => [name]),
    ['certs', 'init'],
    ['certs', 'issue'],
    ['certs', 'check'],
  ]
  for (const command of [...commands, ['keys', 'new'], ['keys', 'show']]) {
    const io = await lsctl([...command, '--help'])
    t.equal(io.exitCode, 0)
    t.match(io.out, RegExp(`Examples?:\\n  lsctl ${command.join(' ')}`), command.join(' '))
    t.equal(io.out.match(/^ +--json/gm)?.length, 1, 'each option once')
    t.equal(io.err, '')
  }
  t.equal((await lsctl(['--version'])).out, '1.2.3\n')
})
