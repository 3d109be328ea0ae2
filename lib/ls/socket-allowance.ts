/** So many at once: a node that is being mended, or a network that comes and goes. */
const BURST = 120
const PER_SECOND = 2

/**
 * How often one bank may open a socket to LS. Each costs a TLS handshake, and leaves lines in the log and records in the
 * store: a bank that comes and goes without end must fill neither.
 */
export class SocketAllowance {
  #left = BURST
  #countedAtMs: number

  constructor(nowMs: number) {
    this.#countedAtMs = nowMs
  }

  /** False when the bank has to wait. `nowMs` is monotonic. */
  take(nowMs: number): boolean {
    this.#left = Math.min(BURST, this.#left + ((nowMs - this.#countedAtMs) / 1_000) * PER_SECOND)
    this.#countedAtMs = nowMs
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}
