import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { LsxError } from '../runtime/index.ts'

/*
 * Three copies of MDB_meta (mdb.c, as lmdb-js changes it): commit N writes the one of page N % 2, and the flush after it
 * a third in the middle of page 0. Each: magic u32 | version u32 | address u64 | map size u64 | free database, 48 bytes,
 * begins with the page size u32 | main database, 48 bytes, ends with its root page u64 | last page u64 | commit u64 |
 * boot id u64. A page begins: number u64 | commit that wrote it u64.
 */
const META_OFFSET = 24
const META_BYTES = 144
const PAGE_SIZE_OFFSET = 24
/** Behind the flags of the free database, in which alone a flushed copy differs. */
const COPIED_OFFSET = 30
const ROOT_OFFSET = 112
const COMMIT_OFFSET = 128
const BOOT_OFFSET = 136
const PAGE_COMMIT_OFFSET = 8
const NO_PAGE = 0xffff_ffff_ffff_ffffn

const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id'
/** Another process may commit while this one reads. */
const ATTEMPTS = 3

interface Meta {
  readonly rootPage: bigint
  readonly commit: bigint
  readonly boot: bigint
  /** What is the same in every copy of one commit. */
  readonly copied: Buffer
}

/**
 * Finds a flipped bit that would make LMDB take an older commit for the newest, and so forget the last ones without a
 * sign. Only in a store that was written since the machine's last boot: after that, and where the boots cannot be told
 * apart, LMDB itself goes back to what was flushed, and the copies need not agree.
 *
 * @throws LsxError INTERNAL
 */
export function checkMetaPages(storePath: string, boot: bigint | undefined = bootId()): void {
  const path = join(storePath, 'data.mdb')
  if (boot === undefined) return
  for (let attempt = 1; !metasAgree(path, boot); attempt++) {
    if (attempt < ATTEMPTS) continue
    throw new LsxError('INTERNAL', `the head of ${path} is damaged: restore it or move it away`, { facts: { path } })
  }
}

function metasAgree(path: string, boot: bigint): boolean {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch {
    return true
  }
  try {
    const pageBytes = read(file, META_BYTES, META_OFFSET).readUInt32LE(PAGE_SIZE_OFFSET)
    if (pageBytes === 0) return true
    const head = read(file, 2 * pageBytes, 0)
    const even = metaAt(head, META_OFFSET)
    const odd = metaAt(head, META_OFFSET + pageBytes)
    const flushed = metaAt(head, META_OFFSET + pageBytes / 2)
    const [older, newest] = even.commit < odd.commit ? [even, odd] : [odd, even]
    if (newest.boot !== boot || newest.commit === 0n) return true
    // Only commits that follow each other, each in its page.
    if (newest.commit - older.commit !== 1n || (even.commit & 1n) !== 0n) return false
    if (flushed.boot === boot && flushed.commit > newest.commit) return false
    if (flushed.commit === newest.commit && !flushed.copied.equals(newest.copied)) return false
    // Each commit writes the root of the main database anew.
    if (newest.rootPage === NO_PAGE) return true
    const rootOffset = newest.rootPage * BigInt(pageBytes)
    if (rootOffset > BigInt(Number.MAX_SAFE_INTEGER)) return false
    const root = read(file, PAGE_COMMIT_OFFSET + 8, Number(rootOffset))
    return root.readBigUInt64LE(PAGE_COMMIT_OFFSET) === newest.commit
  } finally {
    closeSync(file)
  }
}

function metaAt(head: Buffer, offset: number): Meta {
  return {
    rootPage: head.readBigUInt64LE(offset + ROOT_OFFSET),
    commit: head.readBigUInt64LE(offset + COMMIT_OFFSET),
    boot: head.readBigUInt64LE(offset + BOOT_OFFSET),
    copied: head.subarray(offset + COPIED_OFFSET, offset + BOOT_OFFSET),
  }
}

/** Zeros behind the end of the file. */
function read(file: number, length: number, position: number): Buffer {
  const bytes = Buffer.alloc(length)
  readSync(file, bytes, 0, length, position)
  return bytes
}

/** As LMDB reads it: the first group of digits. Undefined where the system does not tell. */
function bootId(): bigint | undefined {
  try {
    const [digits = ''] = readFileSync(BOOT_ID_FILE, 'latin1').split('-')
    return BigInt(`0x${digits}`)
  } catch {
    return undefined
  }
}
