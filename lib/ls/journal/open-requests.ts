import type { ErrorCode } from '../../runtime/index.ts'

/** An open request in memory, without its payload. */
export interface OpenRequest {
  readonly key: string
  readonly bankCode: string
  readonly sequence: string
  readonly acceptedAtMs: number
  readonly deadlineAtMs: number
  state: 'accepted' | 'sent'
  sentAtMs: number | undefined
  bootId: string | undefined
  inDoubt: boolean
  code: ErrorCode | undefined
  /** Is there a progress record on disk, or one on its way there? */
  hasProgress: boolean
  /** What is being written of it right now: its acceptance or a settlement. */
  writing: 'acceptance' | 'settlement' | undefined
  written: Promise<unknown>
}

type NewOpenRequest = Pick<OpenRequest, 'key' | 'bankCode' | 'sequence' | 'acceptedAtMs' | 'deadlineAtMs'>

/** Every open request, by key and by bank, each in order of acceptance. */
export class OpenRequests {
  readonly #byKey = new Map<string, OpenRequest>()
  readonly #byBank = new Map<string, Map<string, OpenRequest>>()
  #inDoubt = 0

  get size(): number {
    return this.#byKey.size
  }

  get inDoubt(): number {
    return this.#inDoubt
  }

  get(key: string): OpenRequest | undefined {
    return this.#byKey.get(key)
  }

  /** Call it in order of acceptance. */
  add({ key, bankCode, sequence, acceptedAtMs, deadlineAtMs }: NewOpenRequest): OpenRequest {
    const request: OpenRequest = {
      key,
      bankCode,
      sequence,
      acceptedAtMs,
      deadlineAtMs,
      state: 'accepted',
      sentAtMs: undefined,
      bootId: undefined,
      inDoubt: false,
      code: undefined,
      hasProgress: false,
      writing: undefined,
      written: SETTLED,
    }
    this.#byKey.set(key, request)
    let ofBank = this.#byBank.get(bankCode)
    if (ofBank === undefined) {
      ofBank = new Map()
      this.#byBank.set(bankCode, ofBank)
    }
    ofBank.set(key, request)
    return request
  }

  markInDoubt(request: OpenRequest, code: ErrorCode | undefined): void {
    if (!request.inDoubt) this.#inDoubt++
    request.inDoubt = true
    request.state = 'sent'
    request.code = code
  }

  delete(request: OpenRequest): void {
    if (!this.#byKey.delete(request.key)) return
    if (request.inDoubt) this.#inDoubt--
    const ofBank = this.#byBank.get(request.bankCode)
    ofBank?.delete(request.key)
    if (ofBank?.size === 0) this.#byBank.delete(request.bankCode)
  }

  /** In order of acceptance. */
  *inOrder(bankCode?: string): Generator<OpenRequest> {
    const requests = bankCode === undefined ? this.#byKey : this.#byBank.get(bankCode)
    if (requests !== undefined) yield* requests.values()
  }
}

const SETTLED = Promise.resolve()
