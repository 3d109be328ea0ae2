import { Argument, type Command, InvalidArgumentError } from 'commander'
import { type CertificateRole, rotateCertificate } from '../certs/index.ts'
import { callAdmin, type GlobalOptions } from './daemon-client.ts'
import { type CliIo, printJson, runCommand } from './io.ts'

interface RotateOptions extends GlobalOptions {
  readonly dir: string
  readonly out?: string
  readonly days?: number
  readonly reload?: boolean
}

/** `lsctl certs rotate`. */
export function addCertsRotate(certs: Command, io: CliIo): void {
  certs
    .command('rotate')
    .summary('replace key and certificate, with the same names')
    .description('issue a new key and certificate with the names of the one that is there, and put them in its place')
    .addArgument(new Argument('<role>', 'of which daemon').choices(['lsd', 'xchange']))
    .argument('[bank]', 'bank code, for an xchange')
    .option('--dir <dir>', "the CA's directory", 'certs')
    .option('--out <dir>', 'where the certificate is (default: lsd or the bank code, in --dir)')
    .option('--days <days>', 'how long the new one lasts (default: as long as the one before)', parseDays)
    .option('--reload', 'let lsd on this machine take it at once, as lsctl reload does')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      [
        '',
        'Channels that are up go on; the daemon shows the new certificate from the next socket on, once it has reloaded',
        '(SIGHUP, or --reload for lsd). Identity and pins stay as they are.',
        '',
        'Examples:',
        '  lsctl certs rotate lsd --reload',
        '  lsctl certs rotate xchange 044 --days 90',
      ].join('\n'),
    )
    .action((role: CertificateRole, bankCode: string | undefined, options: RotateOptions) =>
      runCommand(io, options.json === true, async () => {
        const rotated = await rotateCertificate({
          dir: options.dir,
          role,
          ...(bankCode === undefined ? {} : { bankCode }),
          ...(options.days === undefined ? {} : { days: options.days }),
          ...(options.out === undefined ? {} : { outDir: options.out }),
        })
        const reloaded = options.reload === true ? await callAdmin(io, options, 'reload') : undefined
        if (options.json === true) return printJson(io, { ...rotated, reloaded: reloaded !== undefined })
        const { spiffeId, notAfter, notAfterBefore } = rotated
        io.stdout(`rotated ${spiffeId}: valid until ${dayOf(notAfter)}, was until ${dayOf(notAfterBefore)}\n`)
        io.stdout(`  ${rotated.certFile}  ${rotated.keyFile}\n`)
        if (reloaded !== undefined) io.stdout('lsd has reloaded: new sockets show it, channels that are up go on\n')
        else io.stdout(`let the daemon reload: ${role === 'lsd' ? 'lsctl reload' : 'kill -HUP its process'}\n`)
      }),
    )
}

function parseDays(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('Give a whole number above 0.')
  return Number(text)
}

function dayOf(date: Date): string {
  return date.toISOString().slice(0, 10)
}
