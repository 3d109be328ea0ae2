import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { OwnProcess, TestDaemon } from './daemon-types.ts'
import { LogCapture } from './log-capture.ts'
import { DIST, onlyOnce } from './once.ts'

const EXIT_WITHIN_MS = 10_000

/** Starts `dist/bin/<program>.js` with this configuration. Its log ends when the process is gone. */
export function spawnDaemon(options: {
  program: 'lsd' | 'xchanged'
  name: string
  configFile: string
  nodeArguments: readonly string[]
}): OwnProcess & Pick<TestDaemon, 'log' | 'stop' | 'configFile'> {
  const { program, name, configFile, nodeArguments } = options
  const log = new LogCapture(name)
  const child = spawn(
    process.execPath,
    [...nodeArguments, join(DIST, 'bin', `${program}.js`), '--config', configFile],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const exited = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once('error', reject)
    // `close` comes when the pipes have been read to their end: every line is in the log.
    child.once('close', (code, signal) => {
      log.end()
      resolve(signal ?? code ?? -1)
    })
  })
  exited.catch(() => {})
  captureLines(child, log)
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  const stop = onlyOnce(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), EXIT_WITHIN_MS)
    await exited
    clearTimeout(timer)
  })
  return {
    log,
    configFile,
    pid: child.pid ?? 0,
    kill,
    stop,
    exited,
    signal: (signal: NodeJS.Signals) => void child.kill(signal),
  }
}

function captureLines(child: ChildProcess, log: LogCapture): void {
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on('line', (line) => log.write(line))
  }
}
