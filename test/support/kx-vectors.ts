import { readFileSync } from 'node:fs'

interface VectorMessage {
  readonly payload: Buffer
  readonly message: Buffer
}

interface VectorFrame {
  readonly from: 'ls' | 'xchange'
  readonly header: Buffer
  readonly plaintext: Buffer
  readonly frame: Buffer
}

/** One handshake of test/vectors/kx-xx.json and its first frames; the private keys are raw. */
export interface KxVector {
  readonly bankCode: string
  readonly sessionId: Buffer
  readonly generation: number
  readonly exporter: Buffer
  readonly prologue: Buffer
  readonly lsStatic: Buffer
  readonly lsEphemeral: Buffer
  readonly xchangeStatic: Buffer
  readonly xchangeEphemeral: Buffer
  readonly handshake: readonly VectorMessage[]
  readonly handshakeHash: Buffer
  readonly frames: readonly VectorFrame[]
}

type JsonOf<T> = T extends Buffer
  ? string
  : T extends number
    ? string
    : T extends string
      ? T
      : T extends object
        ? { readonly [K in keyof T]: JsonOf<T[K]> }
        : never

export function readKxVectors(): KxVector[] {
  const file = new URL('../../../test/vectors/kx-xx.json', import.meta.url)
  const parsed = JSON.parse(readFileSync(file, 'utf8')) as { vectors: JsonOf<KxVector>[] }
  return parsed.vectors.map((vector) => ({
    bankCode: vector.bankCode,
    sessionId: hex(vector.sessionId),
    generation: Number(vector.generation),
    exporter: hex(vector.exporter),
    prologue: hex(vector.prologue),
    lsStatic: hex(vector.lsStatic),
    lsEphemeral: hex(vector.lsEphemeral),
    xchangeStatic: hex(vector.xchangeStatic),
    xchangeEphemeral: hex(vector.xchangeEphemeral),
    handshake: vector.handshake.map(({ payload, message }) => ({ payload: hex(payload), message: hex(message) })),
    handshakeHash: hex(vector.handshakeHash),
    frames: vector.frames.map(({ from, header, plaintext, frame }) => ({
      from,
      header: hex(header),
      plaintext: hex(plaintext),
      frame: hex(frame),
    })),
  }))
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex')
}
