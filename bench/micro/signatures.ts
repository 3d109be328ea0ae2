import { decodeRequestBatch, type RequestRecord } from '../../lib/frames/index.ts'
import {
  LsSigning,
  type SignableRequest,
  type SigningMode,
  VerificationCache,
  XchangeSigning,
} from '../../lib/message/jws/index.ts'
import { systemClock } from '../../lib/runtime/index.ts'
import { keysOf, newKey, verificationKey } from '../../test/support/signing-keys.ts'
import type { MicroTask } from './tasks.ts'

const MAX_BODY_BYTES = 65_508
const SESSION_ID = Buffer.alloc(16, 1)

/** Signs and verifies requests as both daemons do. Nothing is remembered, so that each verification is one. */
export function signatureTasks(requests: readonly RequestRecord[], mode: SigningMode): readonly MicroTask[] {
  const key = newKey('ls')
  const options = {
    bankCode: '044',
    mode,
    policy: 'required',
    keys: keysOf(verificationKey(key)),
    cache: new VerificationCache({ clock: systemClock, size: 0 }),
    clock: systemClock,
  } as const
  const batch = new LsSigning<SignableRequest>({ ...options, key: () => key }).newBatch(
    MAX_BODY_BYTES,
    () => SESSION_ID,
  )
  const verifier = new XchangeSigning({ ...options, key: undefined, lsParty: 'ls' })
  const sign = () => {
    for (const record of requests) {
      const { key, method } = record
      batch.append({ ...record, origin: { key, method, signed: undefined } })
    }
    return batch.take()
  }
  const received = decodeRequestBatch(Buffer.from(sign()))
  const shape = mode === 'batch' ? `a batch of ${requests.length}` : 'a JWS each'
  return [
    { name: `sign requests, ${shape}`, unit: 'record', operations: requests.length, run: () => void sign() },
    {
      name: `verify requests, ${shape}`,
      unit: 'record',
      operations: requests.length,
      run() {
        for (const { error } of verifier.verify(received, SESSION_ID)) if (error !== undefined) throw error
      },
    },
  ]
}
