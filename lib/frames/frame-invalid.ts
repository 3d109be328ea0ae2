import { LsxError } from '../runtime/index.ts'

/** The one error for bytes that break the protocol; `facts` are for the log of the receiver only. */
export function frameInvalid(message: string, facts?: Readonly<Record<string, unknown>>): LsxError {
  return new LsxError('FRAME_INVALID', message, { facts })
}
