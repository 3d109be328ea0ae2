import { randomBytes } from 'node:crypto'
import {
  decodeRequestBatch,
  decodeResponseBatch,
  FrameType,
  HEADER_BYTES,
  RequestBatch,
  type RequestRecord,
  ResponseBatch,
  type ResponseRecord,
  ResponseStatus,
  readHeader,
  writeHeader,
} from '../../lib/frames/index.ts'
import { newIdempotencyKey } from '../../lib/ipc/index.ts'
import { OpeningKey, SealingKey } from '../../lib/kx/index.ts'
import { kxParties, runKx } from '../../test/support/kx-parties.ts'
import { openLane } from './lane.ts'
import { signatureTasks } from './signatures.ts'

/** One thing that is measured. `run` does it `operations` times, so that the clock is not what is measured. */
export interface MicroTask {
  readonly name: string
  /** What one operation is. */
  readonly unit: string
  readonly operations: number
  run(): void | Promise<void>
}

const PAYLOAD = Buffer.alloc(256, 0x5a)
const BATCH_SIZES = [1, 8, 64]
const MAX_BODY_BYTES = 65_508

function requests(count: number): readonly RequestRecord[] {
  return Array.from({ length: count }, (_, id) => ({
    id,
    key: newIdempotencyKey(),
    method: 'balance',
    budgetMs: 30_000,
    payload: PAYLOAD,
    meta: undefined,
  }))
}

function responses(count: number): readonly ResponseRecord[] {
  return Array.from({ length: count }, (_, id) => ({
    id,
    status: ResponseStatus.ok,
    payload: PAYLOAD,
    meta: undefined,
  }))
}

function sealAndOpen(size: number): MicroTask {
  const batch = new RequestBatch(MAX_BODY_BYTES)
  for (const record of requests(size)) batch.append(record)
  const body = Buffer.from(batch.take())
  const key = randomBytes(32)
  let sealing = new SealingKey(key, 1, 0, 0)
  let opening = new OpeningKey(key, 1, 0, 0)
  return {
    name: `seal and open, a batch of ${size}`,
    unit: 'record',
    operations: size,
    run() {
      // A key has a hard stop; this bench gets there.
      if (sealing.framesSealed >= 1_000_000) {
        sealing = new SealingKey(key, 1, 0, 0)
        opening = new OpeningKey(key, 1, 0, 0)
      }
      opening.open(sealing.seal(FrameType.request, body, 0), 0)
    },
  }
}

function encodeRequests(size: number): MicroTask {
  const batch = new RequestBatch(MAX_BODY_BYTES)
  const records = requests(size)
  return {
    name: `encode requests, a batch of ${size}`,
    unit: 'record',
    operations: size,
    run() {
      for (const record of records) batch.append(record)
      batch.take()
    },
  }
}

function decodeRequests(size: number): MicroTask {
  const batch = new RequestBatch(MAX_BODY_BYTES)
  for (const record of requests(size)) batch.append(record)
  const body = Buffer.from(batch.take())
  return {
    name: `decode requests, a batch of ${size}`,
    unit: 'record',
    operations: size,
    run: () => void decodeRequestBatch(body),
  }
}

function responsesBothWays(size: number): MicroTask {
  const batch = new ResponseBatch(MAX_BODY_BYTES)
  const records = responses(size)
  return {
    name: `encode and decode responses, a batch of ${size}`,
    unit: 'record',
    operations: size,
    run() {
      for (const record of records) batch.append(record)
      decodeResponseBatch(batch.take())
    },
  }
}

const HEADERS = 100

function headers(): MicroTask {
  const frame = Buffer.alloc(HEADER_BYTES)
  return {
    name: 'frame header, write and read',
    unit: 'header',
    operations: HEADERS,
    run() {
      for (let sequence = 0; sequence < HEADERS; sequence++) {
        writeHeader(frame, { type: FrameType.request, epoch: 1, sequence })
        readHeader(frame)
      }
    },
  }
}

function wholeKx(): MicroTask {
  const parties = kxParties()
  return {
    name: 'kx, both sides',
    unit: 'kx',
    operations: 1,
    run() {
      if (runKx(parties).ls?.name !== 'established') throw new Error('the kx failed')
    },
  }
}

function lane(size: number): MicroTask {
  const open = openLane(PAYLOAD)
  return {
    name: `lane and channel, submit to settle, ${size} at once`,
    unit: 'request',
    operations: size,
    run: () => open.settle(size),
  }
}

export function microTasks(): readonly MicroTask[] {
  return [
    headers(),
    ...BATCH_SIZES.map(encodeRequests),
    ...BATCH_SIZES.map(decodeRequests),
    ...BATCH_SIZES.map(responsesBothWays),
    ...BATCH_SIZES.map(sealAndOpen),
    ...BATCH_SIZES.map(lane),
    ...BATCH_SIZES.flatMap((size) => signatureTasks(requests(size), 'batch')),
    ...signatureTasks(requests(1), 'each'),
    wholeKx(),
  ]
}
