import { checkLsFiles, LsDaemon, loadLsConfig } from '../lib/ls/index.ts'
import { createLogger, runDaemon, systemClock, toLsxError } from '../lib/runtime/index.ts'
import { parseDaemonArguments } from './daemon-options.ts'
import { armFailpointOf } from './failpoint-option.ts'
import { packageVersion } from './package-version.ts'

async function main(): Promise<number> {
  const options = parseDaemonArguments(process.argv.slice(2), 'lsd', 'config/ls.yaml', process.env)
  if (options === undefined) return 0
  const config = loadLsConfig(options.config, process.env)
  if (options.check) {
    checkLsFiles(config, options)
    process.stdout.write(`${options.config}: valid, ${config.banks.length} banks\n`)
    return 0
  }
  const logger = createLogger({ name: 'lsd', level: config.logLevel })
  armFailpointOf(process.env.LSX_FAILPOINT, logger)
  const drainAsked = new AbortController()
  const daemon = new LsDaemon({
    config,
    reloadConfig: () => loadLsConfig(options.config, process.env),
    permissive: options.permissive,
    configFile: options.config,
    version: packageVersion(),
    clock: systemClock,
    logger,
    random: Math.random,
    onStoreStalled: () => process.kill(process.pid, 'SIGKILL'),
    onDrainAsked: () => drainAsked.abort(),
  })
  return runDaemon(
    { logger, start: (signal) => daemon.start(signal), stop: () => daemon.stop(), reload: () => daemon.reload() },
    drainAsked.signal,
  )
}

main().then(
  (code) => process.exit(code),
  (error) => {
    process.stderr.write(`lsd: ${toLsxError(error).message}\n`)
    process.exit(2)
  },
)
