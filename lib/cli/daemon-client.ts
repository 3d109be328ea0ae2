import { join, resolve } from 'node:path'
import { connect, type LsClient, type Message } from '../ipc/index.ts'
import { LsxError } from '../runtime/index.ts'
import { type CliIo, CommandError, ExitCode } from './io.ts'

/** Options that every command has; they may stand before or behind its name. */
export interface GlobalOptions {
  readonly json?: boolean
  readonly runtimeDir?: string
}

/** The apps' socket, and the operators'. */
export type SocketName = 'ls.sock' | 'ls-admin.sock'

const DEFAULT_RUNTIME_DIR = './run'

/** Connects to lsd, does the work, and closes again. A daemon that is not there, or goes away, ends it with exit code 6. */
export async function withDaemon<T>(
  io: CliIo,
  options: GlobalOptions,
  socketName: SocketName,
  work: (client: LsClient) => Promise<T>,
): Promise<T> {
  const path = join(runtimeDirOf(io, options), socketName)
  const client = await connectTo(io, path)
  try {
    return await work(client)
  } catch (error) {
    throw isFromDaemon(error) || io.interrupt.aborted ? error : (lossOf(error, path) ?? error)
  } finally {
    await client.close()
  }
}

/** Asks the operators' socket for one operation. */
export function callAdmin(
  io: CliIo,
  options: GlobalOptions,
  op: string,
  fields: Message = {},
  timeoutMs?: number,
): Promise<unknown> {
  return withDaemon(io, options, 'ls-admin.sock', (client) =>
    client.call(
      op,
      { ...fields, by: { ...io.operator } },
      { signal: io.interrupt, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
    ),
  )
}

/** The connection ended while a command still listened. */
export function daemonGone(cause?: unknown): CommandError {
  return new CommandError(ExitCode.unreachable, 'CHANNEL_DOWN', 'lsd closed the connection', {
    advice: 'its log says why',
    cause,
  })
}

function runtimeDirOf(io: CliIo, options: GlobalOptions): string {
  const fromEnv = io.env.LSX_RUNTIME_DIR
  return options.runtimeDir ?? (fromEnv === undefined || fromEnv === '' ? DEFAULT_RUNTIME_DIR : fromEnv)
}

async function connectTo(io: CliIo, path: string): Promise<LsClient> {
  try {
    return await connect(path, { signal: io.interrupt, clock: io.clock })
  } catch (error) {
    if (!(error instanceof LsxError)) throw error
    const { errno } = error.facts
    throw new CommandError(
      ExitCode.unreachable,
      'CHANNEL_DOWN',
      `lsd is not reachable at ${resolve(path)}: ${reasonOf(errno)}`,
      { advice: adviceFor(errno), cause: error },
    )
  }
}

function reasonOf(errno: unknown): string {
  switch (errno) {
    case 'ENOENT':
      return 'there is no socket'
    case 'ENAMETOOLONG':
      return 'the path is longer than that of any socket'
    case 'ECONNREFUSED':
      return 'nobody listens on the socket, so lsd has ended'
    case 'EACCES':
    case 'EPERM':
      return 'this user may not use the socket'
    default:
      return String(errno)
  }
}

function adviceFor(errno: unknown): string {
  return errno === 'EACCES' || errno === 'EPERM'
    ? 'run lsctl as the user of lsd (ls-admin.sock), or in its group (ls.sock)'
    : 'start it with: lsd --config config/ls.yaml, or say where it runs with --runtime-dir or LSX_RUNTIME_DIR'
}

/** What lsd answered, as against what became of the connection. */
function isFromDaemon(error: unknown): boolean {
  return error instanceof LsxError && 'daemonCode' in error.facts
}

function lossOf(error: unknown, path: string): CommandError | undefined {
  if (!(error instanceof LsxError) || error instanceof CommandError) return undefined
  if (error.code === 'CHANNEL_DOWN') return daemonGone(error)
  if (error.code !== 'DEADLINE_EXCEEDED') return undefined
  return new CommandError(ExitCode.unreachable, 'DEADLINE_EXCEEDED', `lsd does not answer at ${resolve(path)}`, {
    advice: 'its log says more',
    cause: error,
  })
}
