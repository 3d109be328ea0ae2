import { createLogger, runDaemon, systemClock, toLsxError } from '../lib/runtime/index.ts'
import { checkXchangeFiles, loadXchangeConfig, XchangeDaemon } from '../lib/xchange/index.ts'
import { parseDaemonArguments } from './daemon-options.ts'
import { armFailpointOf } from './failpoint-option.ts'
import { packageVersion } from './package-version.ts'

async function main(): Promise<number> {
  const options = parseDaemonArguments(process.argv.slice(2), 'xchanged', 'config/xchange.yaml', process.env)
  if (options === undefined) return 0
  const config = loadXchangeConfig(options.config, process.env)
  const logger = createLogger({ name: 'xchanged', level: config.logLevel })
  armFailpointOf(process.env.LSX_FAILPOINT, logger)
  if (options.check) {
    await checkXchangeFiles({ config, configFile: options.config, permissive: options.permissive, logger })
    process.stdout.write(`${options.config}: valid, bank ${config.bankCode}\n`)
    return 0
  }
  const daemon = new XchangeDaemon({
    config,
    configFile: options.config,
    reloadConfig: () => loadXchangeConfig(options.config, process.env),
    permissive: options.permissive,
    version: packageVersion(),
    clock: systemClock,
    logger,
    random: Math.random,
    onStoreStalled: () => process.kill(process.pid, 'SIGKILL'),
  })
  return runDaemon(
    { logger, start: (signal) => daemon.start(signal), stop: () => daemon.stop(), reload: async () => daemon.reload() },
    new AbortController().signal,
  )
}

main().then(
  (code) => process.exit(code),
  (error) => {
    process.stderr.write(`xchanged: ${toLsxError(error).message}\n`)
    process.exit(2)
  },
)
