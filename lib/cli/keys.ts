import type { Command } from 'commander'
import {
  createIdentityFile,
  formatIdentityPin,
  identityPublicKey,
  loadIdentityKey,
  readIdentityPin,
} from '../certs/index.ts'
import { type CliIo, printJson, runCommand } from './io.ts'

/** `lsctl keys new|show`. */
export function addKeysCommands(program: Command, io: CliIo): void {
  const keys = program.command('keys').description('identities: Ed25519 keys that the other side pins')
  keys
    .command('new')
    .description('make an identity; a file that is there is never overwritten')
    .requiredOption('--out <file>', 'private key, such as identity.key; its pin goes beside it as identity.pub')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', '\nExample:\n  lsctl keys new --out identity.key')
    .action((options: { readonly out: string; readonly json?: boolean }) =>
      runCommand(io, options.json === true, () => {
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
