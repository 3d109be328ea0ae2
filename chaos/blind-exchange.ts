import type { HandlerModule } from '../lib/xchange/handler.ts'
import { ledgerModule } from './execution-ledger.ts'

/** A bank that cannot be asked: a key that was begun and never finished stays in doubt. */
export default function blindExchange(): HandlerModule {
  return ledgerModule('post-blind', { inquires: false })
}
