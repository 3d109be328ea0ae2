import { KeyRotation, type KeyStatus, type KeysConfig, type RotatedRing, type RotationOrder } from '../../keys/index.ts'
import { type Clock, describeError, type Logger, type Service } from '../../runtime/index.ts'
import { loadStoreKeys, type TransactionalStore } from '../../store/index.ts'
import type { TokenKeys } from '../jwt/index.ts'
import type { PartyRings } from './party-rings.ts'

const DAY_MS = 86_400_000
/** Peers look at the key directory every few seconds. */
const JWS_AHEAD_MS = 60_000

export interface DaemonKeysOptions {
  readonly rings: PartyRings
  readonly config: KeysConfig
  readonly store: TransactionalStore
  readonly tokenKeys: TokenKeys
  /** Asked for each time. */
  readonly rotateTokenKeyEveryMs: () => number
  /** The identity file is another one now: proves it in a new kx. */
  readonly onIdentity: () => void
  /** The JWS key file is another one now. */
  readonly onJws: () => void
  /** For the audit log: what happened to which key. */
  readonly onEvent?: (facts: Readonly<Record<string, unknown>>) => void
  readonly clock: Clock
  readonly logger: Logger
}

/** A running daemon's own keys: looks after all kinds, and takes into use what was rotated, without a restart. */
export class DaemonKeys implements Service {
  readonly name = 'keys'
  readonly #options: DaemonKeysOptions
  readonly #rotation: KeyRotation
  readonly #stopping = new AbortController()
  #resealing: Promise<void> = Promise.resolve()
  #storeKeyId: string | undefined
  #tokenTimer: ReturnType<Clock['startTimer']> | undefined

  constructor(options: DaemonKeysOptions) {
    this.#options = options
    const { rings, config, store, clock, logger, onIdentity, onJws } = options
    const rotated: RotatedRing[] = [
      {
        ring: rings.identity,
        rotateAfterMs: config.identityDays * DAY_MS,
        isAutomatic: false,
        aheadMs: 0,
        onActivated: onIdentity,
      },
      {
        ring: rings.store,
        rotateAfterMs: config.storeDays * DAY_MS,
        isAutomatic: config.automatic.includes('store'),
        aheadMs: 0,
        onActivated: () => this.takeStoreKeys(),
        // Its backups may need it for the overlap; the store itself must not need it at all.
        mayRemove: ({ keyId }) => !store.storeKeyIds.includes(keyId),
      },
    ]
    if (rings.jws !== undefined)
      rotated.push({
        ring: rings.jws,
        rotateAfterMs: config.jwsDays * DAY_MS,
        isAutomatic: config.automatic.includes('jws'),
        aheadMs: JWS_AHEAD_MS,
        onActivated: onJws,
      })
    this.#rotation = new KeyRotation({ rings: rotated, clock, logger, onEvent: options.onEvent })
  }

  async start(): Promise<void> {
    this.#storeKeyId = this.#options.store.storeKeyIds[0]
    await this.#rotation.start()
    // A rotation that was under way when the process ended goes on.
    this.#reseal()
    this.#armTokenTimer()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    if (this.#tokenTimer !== undefined) this.#options.clock.cancelTimer(this.#tokenTimer)
    await this.#rotation.stop()
    await this.#resealing
  }

  status(): readonly KeyStatus[] {
    return this.#rotation.status()
  }

  /** Kinds whose rotation is due. Never throws. */
  get due(): readonly string[] {
    return this.#rotation.due
  }

  rotate(order: RotationOrder): Promise<readonly KeyStatus[]> {
    return this.#rotation.rotate(order)
  }

  /** A new key for request tokens, in memory; sessions hear of it at once. */
  rotateTokenKey(): { readonly keyId: string } {
    const keyId = this.#options.tokenKeys.rotate().kid
    this.#options.logger.info({ audit: true, kind: 'token', keyId }, 'a key was rotated')
    this.#options.onEvent?.({ kind: 'token', keyId, message: 'a key was rotated' })
    this.#armTokenTimer()
    return { keyId }
  }

  /** Takes the store's key file as it is now. */
  takeStoreKeys(): void {
    const { store, rings, logger } = this.#options
    store.takeKeys(loadStoreKeys(rings.store, { storeIsNew: false }))
    logger.warn(
      { file: rings.store.file, keyId: store.storeKeyIds[0] },
      'the store has a new key: copy its file to where the backup of the old one is',
    )
    this.#reseal()
  }

  /** After a reload: another process may have rotated the files. */
  takeFiles(): void {
    const { rings } = this.#options
    const active = rings.store.look().find(({ state }) => state === 'active')
    if (active === undefined || active.keyId === this.#storeKeyId) return
    this.takeStoreKeys()
    this.#options.onEvent?.({ kind: 'store', keyId: active.keyId, message: 'a key that was rotated is taken into use' })
  }

  #reseal(): void {
    const { store, logger } = this.#options
    const [current, ...others] = store.storeKeyIds
    this.#storeKeyId = current
    if (others.length === 0) return
    this.#resealing = this.#resealing
      .then(() => store.reseal(this.#stopping.signal))
      .then((records) => {
        if (!this.#stopping.signal.aborted)
          logger.info({ audit: true, records, keyId: current }, 'the store is sealed with its new key')
      })
      .catch((error) => {
        logger.error({ error: describeError(error) }, 'records could not be sealed anew; the next start tries again')
      })
  }

  #armTokenTimer(): void {
    const { clock, rotateTokenKeyEveryMs } = this.#options
    if (this.#tokenTimer !== undefined) clock.cancelTimer(this.#tokenTimer)
    this.#tokenTimer = clock.startTimer(rotateTokenKeyEveryMs(), () => void this.rotateTokenKey())
  }
}
