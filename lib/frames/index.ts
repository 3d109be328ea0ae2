export { RequestBatch, ResponseBatch } from './batch.ts'
export { type FrameHeader, FrameType, readHeader, writeHeader } from './header.ts'
export {
  DEFAULT_MAX_FRAME_BYTES,
  DEFAULT_SCAN_LIMITS,
  HEADER_BYTES,
  LARGEST_MAX_FRAME_BYTES,
  MAX_KEY_BYTES,
  MAX_META_BYTES,
  MAX_METHOD_BYTES,
  MAX_RECORDS_PER_FRAME,
  PROTOCOL_VERSION,
  type ScanLimits,
  TAG_BYTES,
} from './limits.ts'
export { decodeMap, decodeMeta, decodeValue, encodeMap, encodeValue } from './map-codec.ts'
export type { AnsweredRequest, OutgoingRequest, OutgoingResponse } from './outgoing-records.ts'
export { isKey, isMethod } from './record-rules.ts'
export { decodeRequestBatch, type RequestRecord, requestRecordBytes } from './request-records.ts'
export { decodeResponseBatch, type ResponseRecord, ResponseStatus, responseRecordBytes } from './response-records.ts'
export { scanValue } from './scan.ts'
