import { LsxError } from '../../runtime/index.ts'
import { LEAF_PREFIX, type MessageContext, MessageDirection, type MessageParts } from './message.ts'

const LABEL = 'LS-MSG-1'

/** A signed message, taken apart. `timeMs`: when it says that it was signed, Unix ms. */
export interface ReadMessage {
  readonly context: MessageContext
  readonly parts: MessageParts
  readonly timeMs: number
}

/**
 * Reads the bytes that were hashed for a leaf, with the prefix in front. Each message has one encoding, and each encoding
 * is of one message.
 *
 * @throws LsxError SIGNATURE_INVALID for anything else
 */
export function readMessage(bytes: Buffer): ReadMessage {
  let position = 0
  const take = (length: number): Buffer => {
    if (length > bytes.length - position) throw malformed('it is cut short')
    position += length
    return bytes.subarray(position - length, position)
  }
  const number = (width: number) => take(width).readUIntBE(0, width)
  const short = () => take(number(2))
  const text = () => {
    const field = short()
    const value = field.toString('utf8')
    if (!Buffer.from(value).equals(field)) throw malformed('a text is not UTF-8')
    return value
  }
  if (number(1) !== LEAF_PREFIX || take(LABEL.length).toString('latin1') !== LABEL)
    throw malformed('it does not begin as a message')
  const direction = number(1)
  if (direction !== MessageDirection.request && direction !== MessageDirection.response)
    throw malformed('its direction is not known')
  const timeMs = number(2) * 2 ** 48 + number(6)
  if (!Number.isSafeInteger(timeMs)) throw malformed('its time is out of range')
  const context = { direction, party: text(), bankCode: text(), sessionId: short() }
  const parts = {
    id: number(4),
    detail: number(4),
    key: text(),
    method: text(),
    requestHash: short().toString('latin1'),
    metaEntries: take(number(4)),
    payload: take(number(4)),
  }
  if (position !== bytes.length) throw malformed('bytes follow it')
  return { context, parts, timeMs }
}

function malformed(problem: string): LsxError {
  return new LsxError('SIGNATURE_INVALID', `a signed message cannot be read: ${problem}`)
}
