import { isUtf8 } from 'node:buffer'
import { closeSync, openSync, readSync } from 'node:fs'
import type { AuditFile } from './files.ts'

const CHUNK_BYTES = 262_144
/** The daemon writes none longer than about 20 KB. */
const MAX_LINE_BYTES = 1_048_576
const NEWLINE = 0x0a
/** In the place of a line whose bytes are no text: it is no record either. */
const NO_TEXT = '\ufffd'

/** The lines of a file, in bounded memory; the last one `isWhole` only with its newline. */
export function* readLines(file: Pick<AuditFile, 'path'>): Generator<{ line: string; isWhole: boolean }> {
  const descriptor = openSync(file.path, 'r')
  const chunk = Buffer.alloc(CHUNK_BYTES)
  let rest: Buffer = Buffer.alloc(0)
  try {
    for (let count = readSync(descriptor, chunk); count > 0; count = readSync(descriptor, chunk)) {
      const bytes = Buffer.concat([rest, chunk.subarray(0, count)])
      let start = 0
      for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
        yield { line: textOf(bytes.subarray(start, end)), isWhole: true }
        start = end + 1
      }
      rest = bytes.subarray(start)
      if (rest.length > MAX_LINE_BYTES) break
    }
    if (rest.length > 0) yield { line: textOf(rest), isWhole: false }
  } finally {
    closeSync(descriptor)
  }
}

/** Other bytes must not decode to the same text. */
export function textOf(bytes: Buffer): string {
  return isUtf8(bytes) ? bytes.toString() : NO_TEXT
}
