import { parseArgs } from 'node:util'
import { LsxError } from '../lib/runtime/index.ts'

export interface DaemonArguments {
  readonly config: string
  readonly check: boolean
  /** The second of the two places where permissive is asked for. */
  readonly permissive: boolean
}

/** Parses `--config FILE [--check]`. Prints the usage and returns undefined for --help; throws BAD_REQUEST otherwise. */
export function parseDaemonArguments(
  argv: readonly string[],
  program: string,
  defaultConfig: string,
  env: Readonly<Record<string, string | undefined>>,
): DaemonArguments | undefined {
  let values: {
    config?: string | undefined
    check?: boolean | undefined
    help?: boolean | undefined
    'permissive-i-know'?: boolean | undefined
  }
  try {
    values = parseArgs({
      args: [...argv],
      options: {
        config: { type: 'string', short: 'c' },
        check: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        'permissive-i-know': { type: 'boolean' },
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
        '  --permissive-i-know',
        '                 for debugging only: take weaker settings, if security.mode is permissive as well',
        '',
        'signals: SIGTERM drains and stops, a second one ends at once; SIGHUP reloads',
        '',
      ].join('\n'),
    )
    return undefined
  }
  const permissive = values['permissive-i-know'] ?? env.LSX_PERMISSIVE === 'i-know'
  return { config: values.config ?? defaultConfig, check: values.check ?? false, permissive }
}
