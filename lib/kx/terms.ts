import { LARGEST_MAX_FRAME_BYTES } from '../frames/index.ts'
import { BOOT_ID_BYTES } from './constants.ts'
import { Fields, type IntegerRange } from './fields.ts'

/** How the session is run; LS decides and tells in message 3. All are positive integers. */
export interface SessionTerms {
  readonly echoIntervalMs: number
  readonly echoTimeoutMs: number
  /** A key is retired by a new kx at whichever of the three comes first. */
  readonly rekeyAfterMs: number
  readonly rekeyAfterFrames: number
  readonly rekeyAfterBytes: number
  /** Whole frame, header and tag included; the smaller of what both sides allow. */
  readonly maxFrameBytes: number
}

/** What the xchange can take; told in message 2. */
export interface XchangeOffer {
  /** Requests that may be in flight at once. */
  readonly windowRecords: number
  readonly maxFrameBytes: number
  /** 16 bytes, new at each start of the xchange's process. */
  readonly bootId: Buffer
}

/** No timer of node is longer; one that is fires at once. */
const DURATION: IntegerRange = { minimum: 1, maximum: 2 ** 31 - 1 }
const COUNT: IntegerRange = { minimum: 1, maximum: Number.MAX_SAFE_INTEGER }
const FRAME_BYTES: IntegerRange = { minimum: 1_024, maximum: LARGEST_MAX_FRAME_BYTES }
const WINDOW: IntegerRange = { minimum: 1, maximum: 65_536 }

const TERMS_FIELDS = [
  'echoIntervalMs',
  'echoTimeoutMs',
  'rekeyAfterMs',
  'rekeyAfterFrames',
  'rekeyAfterBytes',
  'maxFrameBytes',
] as const satisfies readonly (keyof SessionTerms)[]

const OFFER_FIELDS = ['windowRecords', 'maxFrameBytes', 'bootId'] as const satisfies readonly (keyof XchangeOffer)[]

export function termsMap(terms: SessionTerms): Record<string, unknown> {
  return Object.fromEntries(TERMS_FIELDS.map((name) => [name, terms[name]]))
}

/** Our own terms by the rules that the peer will apply: better refused here, with the reason. Throws KX_FAILED. */
export function checkOwnTerms(terms: SessionTerms): void {
  readTerms(new Fields({ terms: termsMap(terms) }, 'the configuration', ['terms']))
}

/** Throws KX_FAILED on a field that is missing, unknown or out of its bounds. */
export function readTerms(payload: Fields): SessionTerms {
  const fields = payload.map('terms', TERMS_FIELDS)
  return {
    echoIntervalMs: fields.integer('echoIntervalMs', DURATION),
    echoTimeoutMs: fields.integer('echoTimeoutMs', DURATION),
    rekeyAfterMs: fields.integer('rekeyAfterMs', DURATION),
    rekeyAfterFrames: fields.integer('rekeyAfterFrames', COUNT),
    rekeyAfterBytes: fields.integer('rekeyAfterBytes', COUNT),
    maxFrameBytes: fields.integer('maxFrameBytes', FRAME_BYTES),
  }
}

export function offerMap(offer: XchangeOffer): Record<string, unknown> {
  return Object.fromEntries(OFFER_FIELDS.map((name) => [name, offer[name]]))
}

/** See `checkOwnTerms`. */
export function checkOwnOffer(offer: XchangeOffer): void {
  readOffer(new Fields({ offer: offerMap(offer) }, 'the configuration', ['offer']))
}

/** Throws KX_FAILED on a field that is missing, unknown or out of its bounds. */
export function readOffer(payload: Fields): XchangeOffer {
  const fields = payload.map('offer', OFFER_FIELDS)
  return {
    windowRecords: fields.integer('windowRecords', WINDOW),
    maxFrameBytes: fields.integer('maxFrameBytes', FRAME_BYTES),
    bootId: fields.bytes('bootId', BOOT_ID_BYTES),
  }
}
