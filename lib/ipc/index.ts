export { type ErrorCode, LsxError } from '../runtime/index.ts'
export type { AppIlp } from './app-ilp.ts'
export { type AppRequest, DEFAULT_TIMEOUT_MS, LONGEST_TIMEOUT_MS, type MessageId, parseRequest } from './app-request.ts'
export type { CallOptions, LsClient, RequestIlp, RequestOptions, SealedRequestOptions } from './client.ts'
export { type ConnectOptions, connect } from './connect.ts'
export type { IpcConnection, IpcForm, IpcHandler } from './handler.ts'
export { jsonReplacer, payloadToJson } from './human-form.ts'
export { newIdempotencyKey } from './idempotency-key.ts'
export { DEFAULT_IPC_LIMITS, type IpcLimits } from './limits.ts'
export type { Message } from './message.ts'
export type { EventListener, Subscription } from './open-calls.ts'
export type { IlpProof, Outcome, PendingNotice, Reply } from './open-requests.ts'
export { refusalOf } from './refusal.ts'
export {
  restoreSealedRequest,
  type SavedSealedRequest,
  type SealedRequest,
  type SealOptions,
  sealRequest,
} from './sealed-request.ts'
export { IpcServer, type IpcServerOptions } from './server.ts'
export type { SocketMode } from './socket-file.ts'
export { decodePayload, encodePayload } from './value-codec.ts'
