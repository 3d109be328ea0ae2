import { type Command, Option } from 'commander'
import {
  createIdentityFile,
  formatIdentityPin,
  identityPublicKey,
  loadIdentityKey,
  readIdentityPin,
} from '../certs/index.ts'
import { SEALING_KEY_KINDS, type SealingKeyKind } from '../message/jwe/index.ts'
import { type CliIo, printJson, runCommand } from './io.ts'
import { makeSealingKey } from './sealing-key.ts'

interface NewKeyOptions {
  readonly out: string
  readonly for: 'identity' | 'sealing'
  readonly kind: SealingKeyKind
  readonly json?: boolean
}

/** `lsctl keys new|show`. */
export function addKeysCommands(program: Command, io: CliIo): void {
  const keys = program.command('keys').description('identities, which the other side pins, and keys that apps seal to')
  keys
    .command('new')
    .description('make an identity, or a key to seal to; a file that is there is never overwritten')
    .requiredOption('--out <file>', 'private key, such as identity.key; its pin goes beside it as identity.pub')
    .addOption(
      new Option('--for <use>', 'identity (Ed25519), or sealing (JWE from apps to a bank)')
        .choices(['identity', 'sealing'])
        .default('identity'),
    )
    .addOption(new Option('--kind <kind>', 'of a sealing key').choices(SEALING_KEY_KINDS).default('x25519'))
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      [
        '',
        'Examples:',
        '  lsctl keys new --out identity.key',
        '  lsctl keys new --for sealing --kind rsa4096 --out certs/044/sealing.key',
      ].join('\n'),
    )
    .action((options: NewKeyOptions) =>
      runCommand(io, options.json === true, () => {
        if (options.for === 'sealing') return makeSealingKey(io, options)
        const identity = createIdentityFile(options.out)
        if (options.json === true) return printJson(io, identity)
        io.stdout(`${identity.pin}\n`)
        io.stdout(`  ${identity.keyFile}  private key\n  ${identity.pinFile}  the other side pins it\n`)
      }),
    )
  keys
    .command('show')
    .description('print the pin of an identity; the private key is never shown')
    .argument('<file>', 'private key, or .pub file')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', '\nExample:\n  lsctl keys show certs/lsd/identity.pub')
    .action((file: string, options: { readonly json?: boolean }) =>
      runCommand(io, options.json === true, () => {
        const publicKey = file.endsWith('.pub') ? readIdentityPin(file) : identityPublicKey(loadIdentityKey(file))
        const pin = formatIdentityPin(publicKey)
        if (options.json === true) return printJson(io, { file, pin })
        io.stdout(`${pin}\n`)
      }),
    )
}
