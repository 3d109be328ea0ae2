import { armFailpoint, createLogger, failpoint, runDaemon } from '../../lib/runtime/index.ts'

/** A daemon that does nothing, not even listen, run as a process of its own. Its argument says what it does wrong. */
const how = process.argv[2] ?? 'well'
const logger = createLogger({ name: 'test-daemon', level: 'debug' })
const drainAsked = new AbortController()

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
}

async function start(signal: AbortSignal): Promise<void> {
  logger.info({}, 'starting')
  if (how === 'start-fails') throw new Error('the port is taken')
  if (how === 'start-hangs') await untilAborted(signal)
  logger.info({}, 'ready')
  if (how === 'throws-later') {
    setImmediate(() => {
      throw new Error('a defect')
    })
  }
  if (how === 'rejects-later') void Promise.reject(new Error('a defect'))
  if (how === 'drains') drainAsked.abort()
  if (how.startsWith('failpoint:')) {
    armFailpoint(how.slice('failpoint:'.length))
    for (let n = 1; n <= 3; n++) {
      logger.info({ n }, 'before the failpoint')
      failpoint('kx-send:before')
      failpoint('send:before')
    }
  }
}

async function stop(): Promise<void> {
  logger.info({}, 'stopping')
  if (how === 'stop-hangs') await new Promise(() => {})
  if (how === 'stop-fails') throw new Error('stuck')
  logger.info({}, 'stopped')
}

let reloads = 0

async function reload(): Promise<void> {
  reloads++
  logger.info({}, `reload ${reloads}`)
  if (reloads === 1) throw new Error('the file is no YAML')
}

runDaemon({ logger, start, stop, reload }, drainAsked.signal).then(
  (code) => process.exit(code),
  () => process.exit(99),
)
