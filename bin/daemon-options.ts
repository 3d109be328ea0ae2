import { parseArgs } from 'node:util'
import { LsxError } from '../lib/runtime/index.ts'

export interface DaemonArguments {
  readonly config: string
  readonly check: boolean
}

/** Parses `--config FILE [--check]`. Prints the usage and returns undefined for --help; throws BAD_REQUEST otherwise. */
export function parseDaemonArguments(
  argv: readonly string[],
  program: string,
  defaultConfig: string,
): DaemonArguments | undefined {
  let values: { config?: string | undefined; check?: boolean | undefined; help?: boolean | undefined }
  try {
    values = parseArgs({
      args: [...argv],
      options: {
        config: { type: 'string', short: 'c' },
        check: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
      allowPositionals: false,
    }).values
  } catch (cause) {
    throw new LsxError('BAD_REQUEST', `${(cause as Error).message}\nusage: ${program} --config FILE [--check]`, {
      cause,
    })
  }
  if (values.help === true) {
    process.stdout.write(
      [
        `usage: ${program} --config FILE [--check]`,
        '',
        `  --config FILE  the configuration (default ${defaultConfig})`,
        '  --check        read the configuration and every file that it names, say what is wrong, and exit',
        '',
        'signals: SIGTERM drains and stops, a second one ends at once; SIGHUP reloads',
        '',
      ].join('\n'),
    )
    return undefined
  }
  return { config: values.config ?? defaultConfig, check: values.check ?? false }
}
