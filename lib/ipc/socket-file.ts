import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, lstatSync, renameSync, rmSync, type Stats } from 'node:fs'
import { createConnection, type Server } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { LsxError } from '../runtime/index.ts'
import { MAX_SOCKET_PATH_BYTES } from './limits.ts'

/** Who may connect: the owner's group, or the owner alone. */
export type SocketMode = 0o660 | 0o600

const SHORTEST_TEMPORARY_NAME = 8

/** The socket file of a listening server: which file it is, so that nobody else's is removed in its place. */
export class SocketFile {
  readonly path: string
  readonly #inode: Stats

  private constructor(path: string, inode: Stats) {
    this.path = path
    this.#inode = inode
  }

  /**
   * Lets `server` listen on `path`. A socket file that a dead daemon left is replaced; REFUSED when a daemon answers on
   * it, when it is not a socket, or when the path is too long. The socket is made under another name and gets its own
   * when its mode is right, so that at no moment more people can connect than should.
   */
  static async listen(server: Server, options: { path: string; mode: SocketMode; signal: AbortSignal }) {
    const { path, mode, signal } = options
    checkLength(path)
    const found = statIfThere(path)
    if (found !== undefined) await checkStale(path, { found, signal })
    const temporary = temporaryPath(path)
    try {
      await listening(server, temporary)
      signal.throwIfAborted()
      chmodSync(temporary, mode)
      const inode = lstatSync(temporary)
      // Another daemon may have started since: these two calls leave it no time in between.
      const now = statIfThere(path)
      if (now !== undefined && (found === undefined || !isSameFile(now, found))) throw anotherDaemon(path)
      renameSync(temporary, path)
      return new SocketFile(path, inode)
    } catch (error) {
      server.close()
      rmSync(temporary, { force: true })
      if (error instanceof LsxError || error === signal.reason) throw error
      // libuv reports a directory that is not there as EACCES.
      const problem = existsSync(dirname(path)) ? (error as Error).message : `${dirname(path)} does not exist`
      throw new LsxError('INTERNAL', `cannot listen on ${path}: ${problem}`, { cause: error, facts: { path } })
    }
  }

  /** Removes the file, unless it is another daemon's by now. */
  remove(): void {
    const found = statIfThere(this.path)
    if (found !== undefined && isSameFile(found, this.#inode)) rmSync(this.path, { force: true })
  }
}

function checkLength(path: string): void {
  const bytes = Math.max(Buffer.byteLength(path), Buffer.byteLength(temporaryPath(path)))
  if (bytes <= MAX_SOCKET_PATH_BYTES) return
  throw new LsxError(
    'REFUSED',
    `the socket path ${path} is too long: a unix socket may have 107 bytes; choose a shorter runtimeDir`,
    {
      party: 'self',
      facts: { path, bytes },
    },
  )
}

/** In the same directory, as long as the real name where that is long enough not to be met by chance. */
function temporaryPath(path: string): string {
  const length = Math.max(basename(path).length, SHORTEST_TEMPORARY_NAME)
  return join(
    dirname(path),
    `.${randomBytes(length)
      .toString('hex')
      .slice(0, length - 1)}`,
  )
}

async function checkStale(path: string, options: { found: Stats; signal: AbortSignal }): Promise<void> {
  if (!options.found.isSocket()) {
    throw new LsxError('REFUSED', `${path} exists and is not a socket; move it away or choose another path`, {
      party: 'self',
      facts: { path },
    })
  }
  const errno = await connectErrno(path, options.signal)
  options.signal.throwIfAborted()
  // ECONNREFUSED: a socket that nobody listens on. ENOENT: gone in between.
  if (errno === 'ECONNREFUSED' || errno === 'ENOENT') return
  if (errno === undefined || errno === 'EAGAIN') throw anotherDaemon(path)
  throw new LsxError('REFUSED', `cannot tell whether a daemon listens on ${path} (${errno})`, {
    party: 'self',
    facts: { path, errno },
  })
}

/** Undefined when somebody answers. A unix socket answers or refuses at once; the signal is for a kernel that does not. */
function connectErrno(path: string, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection({ path, signal })
    socket.once('connect', () => {
      socket.destroy()
      resolve(undefined)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'))
  })
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function anotherDaemon(path: string): LsxError {
  return new LsxError('REFUSED', `another lsd is running: it answers on ${path}`, { party: 'self', facts: { path } })
}

function statIfThere(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false })
}

function isSameFile(one: Stats, other: Stats): boolean {
  return one.ino === other.ino && one.dev === other.dev
}
