import { existsSync, lstatSync, readdirSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { IpcServer } from '../../lib/ipc/index.ts'
import { silentLogger, systemClock } from '../../lib/runtime/index.ts'
import { patience, RecordingHandler, startServer, temporaryDirectory } from './ipc-fixture.ts'
import { block, RawClient } from './raw-client.ts'

const request = { op: 'request', id: 1, to: '044', method: 'echo', payload: Buffer.from([1]) }

function serverOn(path: string, mode: 0o660 | 0o600 = 0o660): IpcServer {
  return new IpcServer({ path, mode, handler: new RecordingHandler(), logger: silentLogger, clock: systemClock })
}

t.test('the socket has its mode, and nothing else is left in the directory', async (t) => {
  for (const mode of [0o660, 0o600] as const) {
    const { path } = await startServer(t, { mode })
    t.equal(lstatSync(path).mode & 0o777, mode)
    t.same(readdirSync(join(path, '..')), ['ls.sock'])
  }
})

t.test('the socket file of a dead daemon is replaced', async (t) => {
  const path = join(temporaryDirectory(t), 'ls.sock')
  await leaveStaleSocket(path)
  t.ok(lstatSync(path).isSocket())
  const { connect } = await startServer(t, { path })
  const client = await connect()
  client.send(block(request))
  t.match(await client.messages(1), [{ id: 1, outcome: 'answered' }])
})

t.test('a live daemon is left alone', async (t) => {
  const { path, connect } = await startServer(t)
  const before = lstatSync(path).ino
  const second = serverOn(path)
  await t.rejects(second.start(patience()), { code: 'REFUSED', party: 'self', message: /another lsd is running/ })
  t.equal(lstatSync(path).ino, before)
  await second.stop(patience())
  t.ok(existsSync(path), 'nor does the refused one take the socket away')
  const client = await connect()
  client.send(block(request))
  t.equal((await client.messages(1)).length, 1)
})

t.test('a path that cannot be a socket is refused with a reason', async (t) => {
  const directory = temporaryDirectory(t)
  const file = join(directory, 'file')
  writeFileSync(file, 'precious')
  await t.rejects(serverOn(file).start(patience()), { code: 'REFUSED', message: /not a socket/ })
  t.ok(lstatSync(file).isFile())

  const longest = join(directory, 'x'.repeat(107 - directory.length - 1))
  const server = serverOn(longest)
  await server.start(patience())
  await server.stop(patience())
  await t.rejects(serverOn(`${longest}x`).start(patience()), { code: 'REFUSED', message: /107 bytes/ })

  const nowhere = serverOn(join(directory, 'missing', 'ls.sock'))
  await t.rejects(nowhere.start(patience()), { code: 'INTERNAL', message: /missing does not exist/ })
  await t.rejects(serverOn(join(directory, 'a')).start(AbortSignal.abort(new Error('no'))), { message: 'no' })
  t.same(readdirSync(directory), ['file'])
})

t.test('stop removes its own socket file only', async (t) => {
  const directory = temporaryDirectory(t)
  const path = join(directory, 'ls.sock')
  const first = serverOn(path)
  await first.start(patience())
  renameSync(path, join(directory, 'moved'))
  const second = serverOn(path)
  await second.start(patience())
  await first.stop(patience())
  t.ok(existsSync(path))
  await second.stop(patience())
  await second.stop(patience())
  t.notOk(existsSync(path), 'and is safe to call twice')
})

t.test('stop lets replies that are due leave first, and refuses what comes meanwhile', async (t) => {
  const { server, handler, connect } = await startServer(t)
  handler.answer = () => {}
  const client = await connect()
  const idle = await connect()
  client.send(block(request))
  await handler.until(() => handler.messages.length === 1)
  const stopped = server.stop(patience())
  await idle.ended()
  client.send(block({ ...request, id: 2 }))
  t.match(await client.messages(1), [{ id: 2, outcome: 'refused', code: 'SHUTTING_DOWN' }])
  client.socket.end()
  handler.connections[0]?.reply({ id: 1, outcome: 'answered' })
  t.match((await client.messages(2))[1], { id: 1, outcome: 'answered' })
  idle.socket.end()
  await stopped
  t.same(handler.closed.sort(), [1, 2])
  t.equal(server.connectionCount, 0)
})

t.test('stop waits no longer than its signal, and flushes what is there', async (t) => {
  const { server, handler, connect } = await startServer(t)
  handler.answer = (connection, message) => {
    if (message.id === 1) connection.reply({ id: 1, outcome: 'answered' })
    else void server.stop(AbortSignal.abort())
  }
  const client = await connect()
  client.send(block({ ...request, id: 1 }, { ...request, id: 2 }))
  await client.ended()
  t.match(await client.messages(1), [{ id: 1, outcome: 'answered' }])
  await handler.until(() => handler.closed.length === 1)

  const other = await startServer(t)
  other.handler.answer = () => {}
  const waiting = await other.connect()
  waiting.send(block(request))
  await other.handler.until(() => other.handler.messages.length === 1)
  const deadline = new AbortController()
  const stopped = other.server.stop(deadline.signal)
  deadline.abort()
  await stopped
  t.equal(other.server.connectionCount, 0)
})

t.test('connections over the limit are turned away', async (t) => {
  const { path, connect, logLines } = await startServer(t, { limits: { maxConnections: 1 } })
  const client = await connect()
  client.send(block(request))
  await client.messages(1)
  const extra = await RawClient.connect(path)
  await extra.ended()
  extra.socket.destroy()
  t.match(logLines.join(''), /the limit is reached/)
  client.send(block({ ...request, id: 2 }))
  t.equal((await client.messages(2)).length, 2, 'those that are there stay')
})

/** As after kill -9: bound, closed, not removed. */
async function leaveStaleSocket(path: string): Promise<void> {
  const dead = createServer()
  await new Promise<void>((resolve) => dead.listen(`${path}.dead`, resolve))
  renameSync(`${path}.dead`, path)
  await new Promise((resolve) => dead.close(resolve))
}
