import { holdProcess } from './clock.ts'
import { describeError } from './loggable.ts'
import type { Logger } from './logger.ts'

export interface DaemonProcess {
  readonly logger: Logger
  start(signal: AbortSignal): Promise<void>
  stop(): Promise<void>
  reload(): Promise<unknown>
}

/**
 * Runs a daemon as this process: SIGTERM and SIGINT drain it, a second one ends it at once, SIGHUP reloads it.
 * Resolves when the daemon has stopped, with the exit code.
 */
export async function runDaemon(daemon: DaemonProcess, drainAsked: AbortSignal): Promise<number> {
  const { logger } = daemon
  const starting = new AbortController()
  let asked: (() => void) | undefined
  const stopAsked = new Promise<void>((resolve) => {
    asked = resolve
  })
  let signals = 0
  const onSignal = (name: NodeJS.Signals) => {
    signals++
    if (signals > 1) {
      logger.warn({ signal: name }, 'a second signal: ending at once')
      process.exit(130)
    }
    logger.info({ signal: name }, 'asked to stop')
    starting.abort(new Error(`${name} during the start`))
    asked?.()
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  process.on('SIGHUP', () => {
    daemon.reload().catch((error) => {
      logger.error(
        { error: describeError(error) },
        `the configuration was not reloaded, nothing changed: ${messageOf(error)}`,
      )
    })
  })
  drainAsked.addEventListener('abort', () => asked?.(), { once: true })
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error) => {
      logger.fatal(
        { event, error: describeError(error) },
        'a defect: ending, so that the supervisor starts a fresh process',
      )
      process.exit(70)
    })
  }
  const release = holdProcess()
  try {
    await daemon.start(starting.signal)
  } catch (error) {
    release()
    if (signals > 0) return 0
    logger.fatal({ error: describeError(error) }, `cannot start: ${messageOf(error)}`)
    return 1
  }
  await stopAsked
  await daemon.stop()
  release()
  return 0
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
