import { createSealingKeyFiles, type SealingKeyKind } from '../message/jwe/index.ts'
import { type CliIo, printJson } from './io.ts'

export interface SealingKeyOptions {
  readonly out: string
  readonly kind: SealingKeyKind
  readonly json?: boolean
}

/** `lsctl keys new --for sealing`. */
export function makeSealingKey(io: CliIo, { out, kind, json }: SealingKeyOptions): void {
  const files = createSealingKeyFiles(out, kind)
  if (json === true) {
    printJson(io, files)
    return
  }
  io.stdout(`${files.algorithm} ${files.keyId}\n`)
  io.stdout(`  ${files.keyFile}  private key: sealing.keyFiles of the bank's node\n`)
  io.stdout(`  ${files.publicFile}  apps seal to it; hand it to them yourself, not by way of LS\n`)
}
