import { isUtf8 } from 'node:buffer'
import { closeSync, openSync, readSync } from 'node:fs'
import type { AuditFile } from './files.ts'

const CHUNK_BYTES = 262_144
/** The daemon writes none longer than about 20 KB. */
const MAX_LINE_BYTES = 1_048_576
const NEWLINE = 0x0a
/** In the place of a line whose bytes are no text: it is no record either. */
const NO_TEXT = '\ufffd'

export interface FileLine {
  readonly line: string
  /** It has its newline. */
  readonly isWhole: boolean
  /** The byte behind it: where to go on. */
  readonly endByte: number
}

/** The lines of a file from a byte on, in bounded memory. */
export function* readLines(file: Pick<AuditFile, 'path'>, fromByte = 0): Generator<FileLine> {
  const descriptor = openSync(file.path, 'r')
  const chunk = Buffer.alloc(CHUNK_BYTES)
  let rest: Buffer = Buffer.alloc(0)
  let restByte = fromByte
  const readMore = () => readSync(descriptor, chunk, 0, chunk.length, restByte + rest.length)
  try {
    for (let count = readMore(); count > 0; count = readMore()) {
      const bytes = Buffer.concat([rest, chunk.subarray(0, count)])
      let start = 0
      for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, start)) {
        yield { line: textOf(bytes.subarray(start, end)), isWhole: true, endByte: restByte + end + 1 }
        start = end + 1
      }
      rest = bytes.subarray(start)
      restByte += start
      if (rest.length > MAX_LINE_BYTES) break
    }
    if (rest.length > 0) yield { line: textOf(rest), isWhole: false, endByte: restByte + rest.length }
  } finally {
    closeSync(descriptor)
  }
}

/** Other bytes must not decode to the same text. */
export function textOf(bytes: Buffer): string {
  return isUtf8(bytes) ? bytes.toString() : NO_TEXT
}
