import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { runProgram } from '../../lib/cli/index.ts'
import { type IpcConnection, type IpcHandler, IpcServer, type Message } from '../../lib/ipc/index.ts'
import { LsxError, silentLogger, systemClock } from '../../lib/runtime/index.ts'
import { createRecordingIo, type RecordingIo, type RecordingIoOptions } from './recording-io.ts'

/** Answers one op: what it returns goes back with the id of the message; undefined for an answer that comes later. */
export type Answer = (message: Message, connection: IpcConnection) => Message | undefined

export interface ScriptedDaemon {
  readonly runtimeDir: string
  /** All that was asked, without ids and claims. */
  readonly asked: readonly Message[]
  /** What lsctl said of who runs it. */
  readonly claims: readonly unknown[]
  /** Runs `lsctl` against it. */
  run(line: readonly string[], options?: RecordingIoOptions): Promise<RecordingIo>
  /** The same with an io of the test's own, for commands that go on. */
  runWith(io: RecordingIo, line: readonly string[]): Promise<void>
  stop(): Promise<void>
}

/** Both sockets of an lsd that does as it is told. */
export async function startScriptedDaemon(t: Test, script: Readonly<Record<string, Answer>>): Promise<ScriptedDaemon> {
  // Not t.testdir(): a socket path may have 107 bytes.
  const runtimeDir = mkdtempSync(join(tmpdir(), 'lsctl-'))
  const asked: Message[] = []
  const claims: unknown[] = []
  const handler: IpcHandler = {
    onMessage(connection, message) {
      const { id, by, ...rest } = message
      if (by !== undefined) claims.push(by)
      asked.push(rest)
      const answer = script[String(message.op)]
      if (answer === undefined) throw new LsxError('BAD_REQUEST', 'op: not in the script')
      const reply = answer(message, connection)
      if (reply !== undefined) connection.reply({ id, ...reply })
    },
    onClose() {},
  }
  const servers = (['ls.sock', 'ls-admin.sock'] as const).map(
    (name) =>
      new IpcServer({ path: join(runtimeDir, name), mode: 0o600, handler, logger: silentLogger, clock: systemClock }),
  )
  for (const server of servers) await server.start(AbortSignal.timeout(10_000))
  const stop = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.stop(AbortSignal.abort())))
  }
  t.teardown(async () => {
    await stop()
    rmSync(runtimeDir, { recursive: true, force: true })
  })
  const runWith = (io: RecordingIo, line: readonly string[]): Promise<void> =>
    runProgram(io, ['--runtime-dir', runtimeDir, ...line], '1.2.3')
  return {
    runtimeDir,
    asked,
    claims,
    runWith,
    stop,
    run: async (line, options) => {
      const io = createRecordingIo(options)
      await runWith(io, line)
      return io
    },
  }
}

/** An admin operation that went well. */
export function ok(result: unknown): Answer {
  return () => ({ ok: true, result })
}

export function failed(code: string, message: string): Answer {
  return () => ({ ok: false, code, message })
}
