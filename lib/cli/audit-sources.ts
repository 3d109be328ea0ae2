import { accessSync, constants, readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { type AuditHealth, listAuditFiles } from '../audit/index.ts'
import { readIdentityPin, reasonOf } from '../certs/index.ts'
import { checkIdentityPublicKey } from '../kx/index.ts'
import { LsxError } from '../runtime/index.ts'
import { callAdmin, type GlobalOptions } from './daemon-client.ts'
import type { CliIo } from './io.ts'

export interface AuditSource {
  readonly name: string
  readonly path: string
}

/** The files that the arguments name: of a directory all that belong to a log, in their order. */
export function auditSources(paths: readonly string[]): readonly AuditSource[] {
  return paths.flatMap((path): readonly AuditSource[] => {
    try {
      return sourcesOf(path)
    } catch (cause) {
      if (cause instanceof LsxError) throw cause
      const message = `cannot read ${path}: ${reasonOf(cause)}; run lsctl as the user of the daemon, or over a copy`
      throw new LsxError('REFUSED', message, { party: 'self', cause })
    }
  })
}

function sourcesOf(path: string): readonly AuditSource[] {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) throw new LsxError('REFUSED', `${path} is not there`, { party: 'self' })
  const files = stat.isDirectory() ? listAuditFiles(path) : [{ name: basename(path), path }]
  for (const file of files) accessSync(file.path, constants.R_OK)
  return files
}

/** Where the running lsd keeps its log, and by which identity it says that it signs. */
export async function daemonsAudit(io: CliIo, options: GlobalOptions): Promise<Pick<AuditHealth, 'dir' | 'pin'>> {
  const answer = (await callAdmin(io, options, 'status')) as { daemon?: { audit?: Partial<AuditHealth> } } | null
  const audit = answer?.daemon?.audit
  if (typeof audit?.dir === 'string' && typeof audit.pin === 'string') return { dir: audit.dir, pin: audit.pin }
  throw new LsxError('INTERNAL', 'lsd does not say where its audit log is: are they of one version?')
}

/** Public keys from pins, from .pub files, and from all .pub files of a directory. */
export function pinsOf(pins: readonly string[], keysDir: string | undefined): readonly Buffer[] {
  const files =
    keysDir === undefined
      ? []
      : readdirSync(keysDir)
          .filter((name) => name.endsWith('.pub'))
          .map((name) => join(keysDir, name))
  if (keysDir !== undefined && files.length === 0)
    throw new LsxError('BAD_REQUEST', `${keysDir} holds no .pub file`, { party: 'caller' })
  return [...pins, ...files].map((pin) => {
    const publicKey = readIdentityPin(pin)
    checkIdentityPublicKey(publicKey)
    return publicKey
  })
}
