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
  const name = bytes === undefined ? nameWithoutRecord(root, envelope) : openedName(path, bytes)
  if (name !== envelope.name) throw refused(path, name, envelope.name)
  if (bytes !== undefined) return
  root.putSync(CHECK_KEY, checksumEnvelope.enclose(CHECK_PLACE, Buffer.from(envelope.name)))
}

/** A new store takes any envelope; one that has tables and no record comes from before there was another than this. */
function nameWithoutRecord(root: RootDatabase<Buffer, Buffer>, envelope: Envelope): string {
  const { entryCount } = root.getStats() as { entryCount: number }
  return entryCount === 0 ? envelope.name : checksumEnvelope.name
}

function openedName(path: string, bytes: Buffer): string {
  const body = checksumEnvelope.open(CHECK_PLACE, bytes)
  if (body !== undefined) return body.toString()
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
