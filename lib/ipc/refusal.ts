import { isKey } from '../frames/index.ts'
import type { LsxError } from '../runtime/index.ts'
import { isMessageId } from './app-request.ts'
import type { Message } from './message.ts'

/**
 * The answer to a message that was not carried out: `{id, outcome: "refused", code, key?, message}` to a request,
 * `{id, ok: false, code, message}` to any other op. What failed on this machine is for the log only.
 */
export function refusalOf(message: Message, error: LsxError): Message {
  const refusal: Message = isMessageId(message.id) ? { id: message.id } : {}
  if (typeof message.op === 'string' && message.op !== 'request') refusal.ok = false
  else {
    refusal.outcome = 'refused'
    if (typeof message.key === 'string' && isKey(message.key)) refusal.key = message.key
  }
  refusal.code = error.code
  refusal.message = error.code === 'INTERNAL' ? 'an internal failure; the log of the daemon says more' : error.message
  return refusal
}
