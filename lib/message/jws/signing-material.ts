import { type Clock, type Logger, LsxError, type Service } from '../../runtime/index.ts'
import { KeyDirectory } from './key-directory.ts'
import type { ChannelSigningOptions } from './ls-signing.ts'
import type { BankSigningConfig, SigningConfig } from './signing-config.ts'
import { loadSigningKey, type SigningKey } from './signing-key.ts'
import { VerificationCache } from './verification-cache.ts'

export interface SigningMaterialOptions {
  readonly config: SigningConfig
  /** Who we are. */
  readonly party: string
  readonly clock: Clock
  readonly logger: Logger
}

/** A daemon's own signing key, the keys of the others, and the signatures it has seen: one for all its channels. */
export class SigningMaterial implements Service {
  readonly name = 'signing keys'
  readonly directory: KeyDirectory
  readonly cache: VerificationCache
  readonly #options: SigningMaterialOptions
  #key: SigningKey | undefined

  /** @throws LsxError REFUSED, party self: key files that cannot be used */
  constructor(options: SigningMaterialOptions) {
    const { config, clock, logger } = options
    this.#options = options
    this.#key = this.#load()
    this.directory = new KeyDirectory({ path: config.directory, pollMs: config.directoryPollMs, clock, logger })
    this.cache = new VerificationCache({ clock, ...config.cache })
    this.#checkPublished()
  }

  get key(): SigningKey | undefined {
    return this.#key
  }

  start(): Promise<void> {
    return this.directory.start()
  }

  stop(): Promise<void> {
    return this.directory.stop()
  }

  /**
   * Takes key and directory as they are on disk now; what is signed from here on is signed with the new key.
   *
   * @throws LsxError REFUSED, party self: then all stays as it was
   */
  reload(): void {
    const key = this.#load()
    if (key?.algorithm !== this.#key?.algorithm)
      throw new LsxError('REFUSED', 'a signing key of another algorithm takes effect only at the next start', {
        party: 'self',
      })
    this.directory.reload()
    this.#key = key
    this.#checkPublished()
  }

  /** What the signatures of one bank's channel need. `bank`: what differs for it. */
  forChannel(bankCode: string, bank: BankSigningConfig = {}): ChannelSigningOptions {
    const { config, clock } = this.#options
    const { sign = config.sign, mode = config.mode, verify = config.verify } = bank
    return {
      bankCode,
      key: sign ? () => this.#key : undefined,
      mode,
      policy: verify,
      keys: this.directory,
      cache: this.cache,
      maxSkewMs: config.maxSkewMs,
      clock,
    }
  }

  #load(): SigningKey | undefined {
    const { config, party } = this.#options
    const { keyFile, keyId, algorithm } = config
    return keyFile === undefined ? undefined : loadSigningKey(keyFile, { party, keyId, algorithm })
  }

  /** Peers read their own copy of the directory, so that this is a hint and no error. */
  #checkPublished(): void {
    const key = this.#key
    if (key === undefined || this.directory.find(key.party, key.keyId) !== undefined) return
    this.#options.logger.warn(
      { party: key.party, keyId: key.keyId },
      'our own signing key is not in the key directory: peers may not know it either',
    )
  }
}

/** @throws LsxError BAD_REQUEST, party self, where this key cannot sign in this way */
export function checkSigningMode(key: SigningKey | undefined, { mode, sign }: { mode: string; sign: boolean }): void {
  if (!sign) return
  const problem =
    key === undefined
      ? 'signing.keyFile is missing, but messages are to be signed'
      : mode === 'batch' && key.algorithm !== 'EdDSA'
        ? `batch signatures need an Ed25519 key; with ${key.algorithm} set signing.mode to "each"`
        : undefined
  if (problem !== undefined) throw new LsxError('BAD_REQUEST', problem, { party: 'self' })
}
