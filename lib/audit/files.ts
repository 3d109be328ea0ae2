import { constants, lstatSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { LsxError } from '../runtime/index.ts'

const NAME = /^audit\.(\d{6,12})\.ndjson$/

/** The largest `rotateBytes`, and what a last batch may add. */
const MAX_FILE_BYTES = 268_435_456 + 16_777_216

export const AUDIT_FILE_MODE = 0o600
export const AUDIT_DIR_MODE = 0o700

export interface AuditFile {
  readonly name: string
  readonly path: string
  /** From 1. */
  readonly number: number
}

export function auditFile(dir: string, number: number): AuditFile {
  const name = `audit.${String(number).padStart(6, '0')}.ndjson`
  return { name, path: join(dir, name), number }
}

/** In order. A directory that is not there has none. */
export function listAuditFiles(dir: string): readonly AuditFile[] {
  let names: readonly string[]
  try {
    names = readdirSync(dir)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  return names
    .flatMap((name) => {
      const number = NAME.exec(name)?.[1]
      return number === undefined ? [] : [{ name, path: join(dir, name), number: Number(number) }]
    })
    .sort((left, right) => left.number - right.number)
}

/** @throws LsxError REFUSED, party self: not a directory, or open to other users */
export function makeAuditDir(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: AUDIT_DIR_MODE })
  } catch (cause) {
    throw refused(dir, `cannot make the directory of the audit log ${dir}: ${(cause as Error).message}`, cause)
  }
  const stat = statSync(dir)
  if (!stat.isDirectory()) throw refused(dir, `${dir} is not a directory`)
  if ((stat.mode & 0o077) !== 0)
    throw refused(dir, `the audit log ${dir} is open to other users; run: chmod 700 ${dir}`)
}

/**
 * Opens for appending only. A symbolic link in the file's place is not followed.
 *
 * @throws LsxError REFUSED, party self
 */
export async function openForAppend(file: AuditFile, { isNew }: { readonly isNew: boolean }): Promise<FileHandle> {
  const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants
  try {
    const flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | (isNew ? O_CREAT | O_EXCL : 0)
    const handle = await open(file.path, flags, AUDIT_FILE_MODE)
    if (isNew) await syncDirectoryOf(file)
    return handle
  } catch (cause) {
    throw refused(file.path, `cannot write the audit log ${file.path}: ${(cause as Error).message}`, cause)
  }
}

/** The whole file. @throws LsxError REFUSED, party self: not a regular file of its owner alone */
export function readAuditFile(file: AuditFile): Buffer {
  const stat = lstatSync(file.path)
  if (!stat.isFile()) throw refused(file.path, `${file.path} is not a regular file`)
  if ((stat.mode & 0o077) !== 0)
    throw refused(file.path, `${file.path} is open to other users; run: chmod 600 ${file.path}`)
  if (stat.size > MAX_FILE_BYTES)
    throw refused(file.path, `${file.path} is larger than this daemon writes: move it away`)
  return readFileSync(file.path)
}

/** Length and inode of what has the file's name now; undefined when nothing has. */
export function placeOf(file: AuditFile): { readonly bytes: number; readonly inode: number } | undefined {
  const stat = lstatSync(file.path, { throwIfNoEntry: false })
  return stat === undefined ? undefined : { bytes: stat.size, inode: stat.ino }
}

async function syncDirectoryOf(file: AuditFile): Promise<void> {
  const directory = await open(dirname(file.path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function refused(file: string, message: string, cause?: unknown): LsxError {
  return new LsxError('REFUSED', message, { party: 'self', facts: { file }, cause })
}
