import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { LsxError } from '../runtime/index.ts'

/*
 * LMDB's file begins with two meta pages, each: page header (24 bytes) | magic u32 | format version u32 | address u64 |
 * map size u64 | page size u32 | ..., in the machine's byte order. Named after mdb.c's MDB_meta.
 */
const META_OFFSET = 24
const PAGE_SIZE_OFFSET = META_OFFSET + 24
const MAGIC = 0xbeefc0de
const FORMAT_VERSION = 2
const PAGE_SIZES = [4_096, 8_192, 16_384, 32_768, 65_536]

/** Refuses a data file that is not LMDB's: opening one ends the process by a segmentation fault, without a word. */
export function checkFileHead(storePath: string): void {
  const path = join(storePath, 'data.mdb')
  const head = readHead(path, META_OFFSET + 32, 0)
  if (head.length === 0) return
  const pageBytes = head.length < PAGE_SIZE_OFFSET + 4 ? 0 : head.readUInt32LE(PAGE_SIZE_OFFSET)
  if (PAGE_SIZES.includes(pageBytes) && isMeta(head) && isMeta(readHead(path, META_OFFSET + 32, pageBytes))) return
  throw new LsxError('INTERNAL', `${path} is not a store, or its head is damaged: restore it or move it away`, {
    facts: { path },
  })
}

function isMeta(page: Buffer): boolean {
  if (page.length < META_OFFSET + 8) return false
  return page.readUInt32LE(META_OFFSET) === MAGIC && page.readUInt32LE(META_OFFSET + 4) === FORMAT_VERSION
}

/** Fewer bytes than asked for at the end of the file; none when there is no file. */
function readHead(path: string, length: number, position: number): Buffer {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return Buffer.alloc(0)
    throw error
  }
  try {
    const bytes = Buffer.alloc(length)
    return bytes.subarray(0, readSync(file, bytes, 0, length, position))
  } finally {
    closeSync(file)
  }
}
