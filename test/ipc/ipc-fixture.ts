import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type IpcConnection, type IpcHandler, type IpcLimits, IpcServer, type Message } from '../../lib/ipc/index.ts'
import { type Clock, createLogger, systemClock } from '../../lib/runtime/index.ts'
import { RawClient } from './raw-client.ts'

/** Short, because a socket path may have 107 bytes and the directories of tap are long. */
export function temporaryDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'ipc-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function patience(): AbortSignal {
  return AbortSignal.timeout(10_000)
}

/** Echoes requests at once; other behaviour is put in by the test. */
export class RecordingHandler implements IpcHandler {
  readonly messages: Message[] = []
  readonly connections: IpcConnection[] = []
  readonly closed: number[] = []
  #changed: (() => void)[] = []
  answer: (connection: IpcConnection, message: Message) => void = (connection, message) => {
    connection.reply({ id: message.id, outcome: 'answered', payload: message.payload, key: message.key, ms: 1 })
  }

  onMessage(connection: IpcConnection, message: Message): void {
    this.messages.push(message)
    this.connections.push(connection)
    this.answer(connection, message)
    this.#tell()
  }

  onClose(connection: IpcConnection): void {
    this.closed.push(connection.id)
    this.#tell()
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve))
  }

  #tell(): void {
    const changed = this.#changed
    this.#changed = []
    for (const resolve of changed) resolve()
  }
}

export interface Fixture {
  readonly path: string
  readonly server: IpcServer
  readonly handler: RecordingHandler
  readonly logLines: string[]
  connect(): Promise<RawClient>
}

export async function startServer(
  t: Test,
  options: { limits?: Partial<IpcLimits>; clock?: Clock; mode?: 0o660 | 0o600; path?: string } = {},
): Promise<Fixture> {
  const path = options.path ?? join(temporaryDirectory(t), 'ls.sock')
  const logLines: string[] = []
  const handler = new RecordingHandler()
  const server = new IpcServer({
    path,
    mode: options.mode ?? 0o660,
    limits: options.limits ?? {},
    handler,
    clock: options.clock ?? systemClock,
    logger: createLogger({
      name: 'test',
      level: 'debug',
      destination: { write: (line: string) => void logLines.push(line) },
    }),
  })
  await server.start(patience())
  t.teardown(() => server.stop(AbortSignal.abort()))
  const connect = async (): Promise<RawClient> => {
    const client = await RawClient.connect(path)
    t.teardown(() => client.socket.destroy())
    return client
  }
  return { path, server, handler, logLines, connect }
}
