import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { LsxError } from '../runtime/index.ts'

/** Larger than any key or bundle of certificates; a path set wrong must not fill the memory. */
const MAX_SECRET_BYTES = 64 * 1024
const MAX_PUBLIC_BYTES = 256 * 1024

export const SECRET_MODE = 0o600
export const PUBLIC_MODE = 0o644

interface FileRule {
  readonly maxBytes: number
  /** What is wrong with the file and what to do, or undefined. */
  problemOf(path: string, stat: FileStat): string | undefined
}

/** What the rules look at; a part of `Stats`. */
export interface FileStat {
  readonly mode: number
  readonly uid: number
}

/**
 * Why a file with these facts must not hold a secret, or undefined. Only the owner may have any access, and the owner
 * is this process's user or root.
 */
export function secretFileProblem(path: string, stat: FileStat, ownUid: number): string | undefined {
  if ((stat.mode & 0o077) !== 0) {
    return `${path} is open to other users (mode ${modeText(stat)}); run: chmod 600 ${path}`
  }
  if (stat.uid !== 0 && stat.uid !== ownUid) {
    return `${path} belongs to another user (uid ${stat.uid}); run: chown ${ownUid} ${path}`
  }
  return undefined
}

/**
 * Reads a private key or other secret, at most 64 KiB. A symbolic link is followed and its target judged.
 *
 * @throws LsxError REFUSED, party self: missing or not a regular file, open to group or others, of another user, too large
 */
export function readSecretFile(path: string): Buffer {
  const ownUid = process.geteuid?.() ?? 0
  return readRegularFile(path, {
    maxBytes: MAX_SECRET_BYTES,
    problemOf: (file, stat) => secretFileProblem(file, stat, ownUid),
  })
}

/** Why the file at `path` must not hold a secret, without reading it. */
export function secretFileFault(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false })
  return stat === undefined ? `${path} is not there` : secretFileProblem(path, stat, process.geteuid?.() ?? 0)
}

/**
 * Reads a certificate or pin, at most 256 KiB. These are what this party trusts, so a file that anybody may change is
 * refused like an open secret.
 *
 * @throws LsxError REFUSED, party self
 */
export function readPublicFile(path: string): Buffer {
  return readRegularFile(path, {
    maxBytes: MAX_PUBLIC_BYTES,
    problemOf: (file, stat) =>
      (stat.mode & 0o002) === 0
        ? undefined
        : `${file} can be changed by anybody (mode ${modeText(stat)}); run: chmod o-w ${file}`,
  })
}

function readRegularFile(path: string, rule: FileRule): Buffer {
  let descriptor: number
  try {
    // Without O_NONBLOCK a named pipe in the file's place would hang the daemon here.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    throw fileError(path, `cannot read ${path}: ${reasonOf(cause)}`, cause)
  }
  try {
    // The open file is judged, not the path: nobody can swap it in between.
    const stat = fstatSync(descriptor)
    if (!stat.isFile()) throw fileError(path, `${path} is not a regular file`)
    const problem = rule.problemOf(path, stat)
    if (problem !== undefined) throw fileError(path, problem)
    return readAtMost(descriptor, path, stat, rule.maxBytes)
  } finally {
    closeSync(descriptor)
  }
}

function readAtMost(descriptor: number, path: string, stat: Stats, maxBytes: number): Buffer {
  if (stat.size > maxBytes) throw fileError(path, `${path} is larger than ${maxBytes} bytes`)
  const content = Buffer.alloc(stat.size)
  let length = 0
  while (length < content.length) {
    const count = readSync(descriptor, content, length, content.length - length, length)
    if (count === 0) break
    length += count
  }
  return content.subarray(0, length)
}

/** Puts a whole new file in place of whatever has this name, in one step and durably. */
export function writeFileAtomic(path: string, content: string | Buffer, mode: number): void {
  placeFile(path, content, mode, renameSync)
}

/**
 * Creates a whole file in one step, never over an existing one.
 *
 * @throws LsxError REFUSED, party self, when the name is taken
 */
export function createFileExclusive(path: string, content: string | Buffer, mode: number): void {
  placeFile(path, content, mode, linkSync)
}

/** Parents too. The mode applies to what is created only. */
export function createDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { recursive: true, mode })
  } catch (cause) {
    throw fileError(path, `cannot create the directory ${path}: ${reasonOf(cause)}`, cause)
  }
}

function placeFile(
  path: string,
  content: string | Buffer,
  mode: number,
  place: (temporary: string, path: string) => void,
): void {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(8).toString('hex')}.tmp`)
  try {
    // Secret from the first byte on; fchmod because the umask has a say in open().
    const descriptor = openSync(temporary, 'wx', SECRET_MODE)
    try {
      writeFileSync(descriptor, content)
      fchmodSync(descriptor, mode)
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    place(temporary, path)
    syncDirectory(dirname(path))
  } catch (cause) {
    throw fileError(path, `cannot write ${path}: ${reasonOf(cause)}`, cause)
  } finally {
    rmSync(temporary, { force: true })
  }
}

export function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function fileError(path: string, message: string, cause?: unknown): LsxError {
  return new LsxError('REFUSED', message, { party: 'self', facts: { file: path }, cause })
}

function modeText(stat: FileStat): string {
  return (stat.mode & 0o777).toString(8).padStart(3, '0')
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EEXIST: 'it is there already and is never overwritten',
  EISDIR: 'it is a directory',
  ELOOP: 'too many symbolic links',
  ENOENT: 'no such file or directory',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of the path is not a directory',
  EROFS: 'the file system is read-only',
}

/** A failed system call in an operator's words. */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined
  return (code === undefined ? undefined : REASONS[code]) ?? thrown.message
}
