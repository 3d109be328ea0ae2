import { type Command, Option } from 'commander'
import {
  createIdentityFile,
  formatIdentityPin,
  identityPublicKey,
  loadIdentityKey,
  readIdentityPin,
} from '../certs/index.ts'
import { SEALING_KEY_KINDS, type SealingKeyKind } from '../message/jwe/index.ts'
import type { GlobalOptions } from './daemon-client.ts'
import { type CliIo, printJson, runCommand } from './io.ts'
import { addKeysRotate, showKeys } from './keys-rotate.ts'
import { makeSealingKey } from './sealing-key.ts'

interface NewKeyOptions {
  readonly out: string
  readonly for: 'identity' | 'sealing'
  readonly kind: SealingKeyKind
  readonly json?: boolean
}

/** `lsctl keys new|rotate|show`. */
export function addKeysCommands(program: Command, io: CliIo): void {
  const keys = program.command('keys').description('identities and other keys: make, show and rotate them')
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
  addKeysRotate(keys, io)
  keys
    .command('show')
    .summary("show a daemon's keys with their age, or the pin of a file")
    .description(
      "show lsd's keys with their age and next rotation, or the pin of an identity file; never a private key",
    )
    .argument('[file]', 'private key, or .pub file')
    .option('--config <file>', 'the keys of the daemon that this file configures, from its files')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  lsctl keys show\n  lsctl keys show --config config/xchange.yaml\n  lsctl keys show certs/lsd/identity.pub',
    )
    .action((file: string | undefined, options: GlobalOptions & { readonly config?: string }) =>
      runCommand(io, options.json === true, async () => {
        if (file === undefined) return showKeys(io, options)
        const publicKey = file.endsWith('.pub') ? readIdentityPin(file) : identityPublicKey(loadIdentityKey(file))
        const pin = formatIdentityPin(publicKey)
        if (options.json === true) return printJson(io, { file, pin })
        io.stdout(`${pin}\n`)
      }),
    )
}
