import { dirname, join } from 'node:path'
import { Argument, type Command, InvalidArgumentError } from 'commander'
import {
  type CertificateRole,
  type CheckedFile,
  checkCertificates,
  createAuthority,
  EXPIRY_WARNING_DAYS,
  issueCertificate,
} from '../certs/index.ts'
import { createSigningKeyFiles } from '../message/jws/index.ts'
import { addCertsRotate } from './certs-rotate.ts'
import { type Cell, type CliIo, ExitCode, printJson, printTable, runCommand } from './io.ts'

const DEFAULT_DIR = 'certs'
/** In a party's directory. */
const SIGNING_KEY_FILE = 'jws.key'
/** Beside the parties' directories: the public halves of all signing keys. */
const KEY_DIRECTORY = 'keys'
const LS_PARTY = 'ls'
const DEFAULT_TRUST_DOMAIN = 'ls-xchange.test'

interface InitOptions {
  readonly dir: string
  readonly trustDomain: string
  readonly years?: number
  readonly json?: boolean
}

interface IssueOptions {
  readonly dir: string
  readonly out?: string
  readonly dns?: readonly string[]
  readonly ip?: readonly string[]
  readonly days?: number
  readonly json?: boolean
}

interface CheckOptions {
  readonly dir: string
  readonly json?: boolean
}

/** `lsctl certs init|issue|rotate|check`. */
export function addCertsCommands(program: Command, io: CliIo): void {
  const certs = program.command('certs').description('create a CA, issue certificates, check what is there')
  addInit(certs, io)
  addIssue(certs, io)
  addCertsRotate(certs, io)
  addCheck(certs, io)
}

function addInit(certs: Command, io: CliIo): void {
  certs
    .command('init')
    .description('create a CA; one that is there is never overwritten')
    .option('--dir <dir>', 'where ca.key and ca.crt go', DEFAULT_DIR)
    .option('--trust-domain <name>', 'under which all parties are named', DEFAULT_TRUST_DOMAIN)
    .option('--years <years>', 'how long the CA lasts (default: 10)', parseCount)
    .option('--json', 'print the result as JSON')
    .addHelpText('after', '\nExample:\n  lsctl certs init --dir certs --trust-domain bank.example')
    .action((options: InitOptions) =>
      runCommand(io, options.json === true, async () => {
        const { dir, trustDomain, years } = options
        const authority = await createAuthority({ dir, trustDomain, ...(years === undefined ? {} : { years }) })
        if (options.json === true) return printJson(io, authority)
        io.stdout(`created the CA of ${trustDomain}, valid until ${dayOf(authority.notAfter)}\n`)
        io.stdout(`  ${authority.certFile}  give it to every party\n`)
        io.stdout(`  ${authority.keyFile}  keep it away from the daemons, best offline\n`)
      }),
    )
}

function addIssue(certs: Command, io: CliIo): void {
  certs
    .command('issue')
    .description('issue key and certificate of lsd or of a bank; an identity and a signing key that are there are kept')
    .addArgument(new Argument('<role>', 'for which daemon').choices(['lsd', 'xchange']))
    .argument('[bank]', 'bank code, for an xchange')
    .option('--dir <dir>', "the CA's directory", DEFAULT_DIR)
    .option('--out <dir>', 'where the files go (default: lsd or the bank code, in --dir)')
    .option('--dns <name>', 'host name of the daemon; give it again or use commas for more', collect)
    .option('--ip <address>', 'its address; with neither: localhost, 127.0.0.1, ::1', collect)
    .option('--days <days>', 'how long the certificate lasts (default: 365)', parseCount)
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  lsctl certs issue lsd\n  lsctl certs issue xchange 044 --dns xchange.bank.example',
    )
    .action((role: CertificateRole, bankCode: string | undefined, options: IssueOptions) =>
      runCommand(io, options.json === true, async () => {
        const issued = await issueCertificate({
          dir: options.dir,
          role,
          ...(bankCode === undefined ? {} : { bankCode }),
          ...(options.dns === undefined ? {} : { dns: options.dns }),
          ...(options.ip === undefined ? {} : { ips: options.ip }),
          ...(options.days === undefined ? {} : { days: options.days }),
          ...(options.out === undefined ? {} : { outDir: options.out }),
        })
        const signing = createSigningKeyFiles({
          keyFile: join(dirname(issued.keyFile), SIGNING_KEY_FILE),
          directory: join(options.dir, KEY_DIRECTORY),
          party: bankCode ?? LS_PARTY,
        })
        if (options.json === true) return printJson(io, { ...issued, signing })
        io.stdout(`issued ${issued.spiffeId}, valid until ${dayOf(issued.notAfter)}\n`)
        io.stdout(`  ${issued.certFile}  ${issued.keyFile}  ${issued.caFile}\n`)
        io.stdout(`identity ${issued.pin}\n`)
        io.stdout(`  ${issued.pinFile}  the other side pins it\n`)
        io.stdout(`signing key ${signing.keyId} (${signing.algorithm})\n`)
        io.stdout(`  ${signing.publicFile}  goes into the key directory of whoever verifies\n`)
      }),
    )
}

function addCheck(certs: Command, io: CliIo): void {
  certs
    .command('check')
    .description(`look at certificates, keys and permissions; exit code 1 when there is a problem`)
    .option('--dir <dir>', 'directory of a CA or of one party', DEFAULT_DIR)
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `\nWarns when fewer than ${EXPIRY_WARNING_DAYS} days are left.\n\nExample:\n  lsctl certs check --dir certs`,
    )
    .action((options: CheckOptions) =>
      runCommand(io, options.json === true, () => {
        const checked = checkCertificates(options.dir)
        const ok = checked.every(({ problems }) => problems.length === 0)
        if (options.json === true) printJson(io, { ok, files: checked })
        else printTable(io, ['FILE', 'ID', 'DAYS LEFT', 'STATE'], checked.map(rowOf))
        io.exit(ok ? ExitCode.ok : ExitCode.failed)
      }),
    )
}

function rowOf({ file, spiffeId, daysLeft, problems, warnings }: CheckedFile): readonly Cell[] {
  return [file, spiffeId ?? '-', daysLeft ?? '-', stateOf(problems, warnings)]
}

function stateOf(problems: readonly string[], warnings: readonly string[]): Cell {
  if (problems.length > 0) return { text: `problem: ${[...problems, ...warnings].join('; ')}`, tone: 'bad' }
  if (warnings.length > 0) return { text: `warning: ${warnings.join('; ')}`, tone: 'warning' }
  return { text: 'ok', tone: 'good' }
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('Give a whole number above 0.')
  return Number(text)
}

function collect(text: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, ...text.split(',').map((part) => part.trim())]
}

function dayOf(date: Date): string {
  return date.toISOString().slice(0, 10)
}
