import type { HandlerModule } from '../lib/xchange/handler.ts'
import { ledgerModule } from './execution-ledger.ts'

/** A bank whose books can be asked what became of a key. */
export default function ledgerExchange(): HandlerModule {
  return ledgerModule('post', { inquires: true })
}
