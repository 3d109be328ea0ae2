import { closeSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { LsxError } from '../runtime/index.ts'

/** Held as long as a daemon uses its store. */
export interface StoreLock {
  release(): Promise<void>
}

const LOCK_NAME = 'lock.sock'
/** sockaddr_un holds 108 bytes on Linux, the last of them zero. */
const MAX_SOCKET_PATH_BYTES = 107

/**
 * Takes a store for this process: LMDB itself lets several processes in, and two daemons on one store would each do
 * what the other does not know of. The lock is a listening socket in the store's directory, so that it ends with its
 * process, however that ends.
 *
 * @throws LsxError REFUSED (party self) when another process holds it, INTERNAL when it cannot be taken
 */
export async function lockStore(directory: string): Promise<StoreLock> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const directoryFd = openSync(directory, 'r')
  try {
    const server = await listenExclusively(lockPath(directory, directoryFd), directory)
    return {
      release: async () => {
        await new Promise<void>((resolve) => server.close(() => resolve()))
        closeSync(directoryFd)
      },
    }
  } catch (error) {
    closeSync(directoryFd)
    throw error
  }
}

/** A directory of any length: the kernel finds it by the descriptor. */
function lockPath(directory: string, directoryFd: number): string {
  const path = join(directory, LOCK_NAME)
  return Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES ? path : `/proc/self/fd/${directoryFd}/${LOCK_NAME}`
}

async function listenExclusively(path: string, directory: string): Promise<Server> {
  const first = await listen(path)
  if (typeof first !== 'string') return first
  if (first !== 'EADDRINUSE') throw cannotLock(directory, first)
  if (await isHeld(path)) throw heldByAnother(directory)
  // Left by a process that was killed. Moved away before it is judged again, in case another has just taken its place.
  const aside = `${path}.${process.pid}`
  renameSync(path, aside)
  if (await isHeld(aside)) {
    renameSync(aside, path)
    throw heldByAnother(directory)
  }
  rmSync(aside, { force: true })
  const second = await listen(path)
  if (typeof second !== 'string') return second
  throw second === 'EADDRINUSE' ? heldByAnother(directory) : cannotLock(directory, second)
}

/** The server, or the code of what went wrong. */
function listen(path: string): Promise<Server | string> {
  return new Promise((resolve) => {
    // Nobody has anything to say here: who connects only wants to know whether somebody listens.
    const server = createServer((socket) => socket.destroy())
    server.unref()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen(path, () => {
      server.removeAllListeners('error')
      server.on('error', () => {})
      resolve(server)
    })
  })
}

function isHeld(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

function heldByAnother(directory: string): LsxError {
  const message = `another process uses the store ${directory}: stop it first, or give this daemon a storeDir of its own`
  return new LsxError('REFUSED', message, { party: 'self', facts: { directory } })
}

function cannotLock(directory: string, why: string): LsxError {
  return new LsxError('INTERNAL', `cannot lock the store ${directory}: ${why}`, { facts: { directory } })
}
