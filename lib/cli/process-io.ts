import { hostname, userInfo } from 'node:os'
import { addAbortSignal } from 'node:stream'
import type { OperatorClaim } from '../audit/index.ts'
import { LsxError, systemClock } from '../runtime/index.ts'
import { type CliIo, ExitCode } from './io.ts'

const DEFAULT_COLUMNS = 80
const DEFAULT_ROWS = 24

/** The terminal and the process as commands see them. To be made once: it listens for Ctrl-C. */
export function createProcessIo(process: NodeJS.Process): CliIo {
  const { stdin, stdout, stderr, env } = process
  const interrupt = new AbortController()
  process.on('SIGINT', () => {
    if (interrupt.signal.aborted) process.exit(ExitCode.interrupted)
    interrupt.abort()
  })
  // The reader is gone, as in `lsctl uptime --follow | head`: nobody wants more.
  stdout.on('error', () => interrupt.abort())
  stderr.on('error', () => {})
  return {
    stdout: (text) => {
      stdout.write(text)
    },
    stderr: (text) => {
      stderr.write(text)
    },
    isTty: stdout.isTTY === true,
    get columns() {
      return stdout.columns ?? DEFAULT_COLUMNS
    },
    get rows() {
      return stdout.rows ?? DEFAULT_ROWS
    },
    env,
    exit: (code) => {
      process.exitCode = code
    },
    readStdin: (maxBytes) => readAll(addAbortSignal(interrupt.signal, stdin), maxBytes),
    interrupt: interrupt.signal,
    clock: systemClock,
    operator: operatorOf(process),
  }
}

async function readAll(stream: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream) {
    bytes += chunk.length
    if (bytes > maxBytes) throw new LsxError('TOO_LARGE', `standard input holds more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function operatorOf({ env, pid }: NodeJS.Process): OperatorClaim {
  return { ...userOfSystem(), sudoUser: env.SUDO_USER, pid, host: hostname() }
}

/** A user without an entry in the system's list, as in a container, has a number only. */
function userOfSystem(): OperatorClaim {
  try {
    const { username, uid } = userInfo()
    return { user: username, uid }
  } catch {
    return { uid: process.getuid?.() }
  }
}
