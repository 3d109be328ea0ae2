import { createConnection } from 'node:net'
import { type Clock, LsxError, systemClock } from '../runtime/index.ts'
import { LsClient } from './client.ts'
import { MAX_SOCKET_PATH_BYTES } from './limits.ts'

export interface ConnectOptions {
  readonly signal?: AbortSignal
  readonly clock?: Clock
}

/**
 * Connects to the socket of lsd. CHANNEL_DOWN when nobody listens there, the socket is not for this user, or the path is
 * longer than any socket's (errno ENAMETOOLONG).
 */
export function connect(path: string, options: ConnectOptions = {}): Promise<LsClient> {
  const { signal, clock = systemClock } = options
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason)
      return
    }
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
      reject(tooLong(path))
      return
    }
    const socket = createConnection({ path })
    const onAbort = (): void => {
      socket.destroy()
      reject(signal?.reason)
    }
    const onError = (error: NodeJS.ErrnoException): void => {
      signal?.removeEventListener('abort', onAbort)
      reject(unreachable(path, error))
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once('connect', () => {
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', onError)
      resolve(new LsClient(socket, clock))
    })
  })
}

/** Node 20 and 22 cut such a path off, and might so connect to another socket; later ones say EINVAL. */
function tooLong(path: string): LsxError {
  return new LsxError('CHANNEL_DOWN', `no socket can be at ${path}: its path has over ${MAX_SOCKET_PATH_BYTES} bytes`, {
    party: 'caller',
    facts: { path, errno: 'ENAMETOOLONG' },
  })
}

function unreachable(path: string, error: NodeJS.ErrnoException): LsxError {
  const hint =
    error.code === 'EACCES' || error.code === 'EPERM'
      ? 'this user may not use the socket'
      : 'is lsd running, and is this its runtimeDir?'
  return new LsxError('CHANNEL_DOWN', `cannot reach lsd at ${path}: ${error.message} (${hint})`, {
    cause: error,
    facts: { path, errno: error.code },
  })
}
