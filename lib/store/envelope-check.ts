import type { RootDatabase } from 'lmdb'
import { LsxError } from '../runtime/index.ts'
import { checksumEnvelope, type Envelope, recordPlace } from './envelope.ts'

/** No table can have this name, and the root database holds nothing else but the names of the tables. */
const CHECK_KEY = Buffer.from('_envelope')
const CHECK_PLACE = recordPlace(Buffer.alloc(0), CHECK_KEY)

/**
 * Compares the envelope with the one that the store was made with, which a record beside the tables names. Without it
 * a wrong key would look like damage of every single record.
 *
 * @throws LsxError REFUSED, party self, when it is another; INTERNAL when the record is damaged
 */
export function checkEnvelope(root: RootDatabase<Buffer, Buffer>, path: string, envelope: Envelope): void {
  const bytes = root.getBinary(CHECK_KEY)
  const names = bytes === undefined ? [nameWithoutRecord(root, envelope)] : openedNames(path, bytes)
  const opens = envelope.opens ?? [envelope.name]
  const unknown = names.find((name) => !opens.includes(name))
  if (unknown !== undefined) throw refused(path, unknown, envelope.name)
  if (bytes === undefined || !names.includes(envelope.name)) noteNames(root, [...new Set([envelope.name, ...names])])
}

/** The names of all envelopes that records of this store may have. On disk when it returns. */
export function noteNames(root: RootDatabase<Buffer, Buffer>, names: readonly string[]): void {
  root.putSync(CHECK_KEY, checksumEnvelope.enclose(CHECK_PLACE, Buffer.from(names.join('\n'))))
}

/** As noted. @throws LsxError INTERNAL when the record is damaged */
export function notedNames(root: RootDatabase<Buffer, Buffer>, path: string): readonly string[] {
  const bytes = root.getBinary(CHECK_KEY)
  return bytes === undefined ? [] : openedNames(path, bytes)
}

/** Names of the tables, also of those that nobody has opened. */
export function tableNames(root: RootDatabase<Buffer, Buffer>): readonly string[] {
  return Array.from(root.getKeys({}), (key) => Buffer.from(key).toString()).filter(
    (name) => name !== CHECK_KEY.toString(),
  )
}

/** A new store takes any envelope; one that has tables and no record comes from before there was another than this. */
function nameWithoutRecord(root: RootDatabase<Buffer, Buffer>, envelope: Envelope): string {
  const { entryCount } = root.getStats() as { entryCount: number }
  return entryCount === 0 ? envelope.name : checksumEnvelope.name
}

function openedNames(path: string, bytes: Buffer): readonly string[] {
  const body = checksumEnvelope.open(CHECK_PLACE, bytes)
  if (body !== undefined) return body.toString().split('\n')
  throw new LsxError('INTERNAL', `the store ${path} is damaged: restore it or move it away`, { facts: { path } })
}

function refused(path: string, stored: string, given: string): LsxError {
  const options = { party: 'self', facts: { path, stored, given } } as const
  if (stored === checksumEnvelope.name) {
    return new LsxError('REFUSED', `the store ${path} was made without a store key: move it away`, options)
  }
  if (given === checksumEnvelope.name) {
    return new LsxError('REFUSED', `the store ${path} is sealed and needs its store key`, options)
  }
  return new LsxError('REFUSED', `the store ${path} is sealed with another store key: put its own key back`, options)
}
