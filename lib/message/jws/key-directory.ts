import { readdirSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'
import { readPublicFile, reasonOf } from '../../certs/index.ts'
import {
  type Clock,
  describeError,
  type Logger,
  LsxError,
  type Service,
  type TimerHandle,
} from '../../runtime/index.ts'
import { parsePublicJwk, type VerificationKey } from './jwk.ts'
import { isKeyId, isParty } from './names.ts'

/** Who finds keys to verify with. */
export interface KeyFinder {
  find(party: string, keyId: string): VerificationKey | undefined
}

export interface KeyDirectoryOptions {
  /** `<party>/<key id>.json`, public JWKs. */
  readonly path: string
  readonly clock: Clock
  readonly logger: Logger
  /** Between two looks for files that changed. Default 5 s. */
  readonly pollMs?: number
}

type Keys = ReadonlyMap<string, ReadonlyMap<string, VerificationKey>>

const POLL_MS = 5_000
const MAX_KEYS_OF_A_PARTY = 256
const SUFFIX = '.json'

/**
 * The verification keys of all parties. Each file is a key, so two keys of a party are in force as long as both files
 * are there and their times last. Changes are taken up while the daemon runs; one that is a mistake changes nothing.
 */
export class KeyDirectory implements KeyFinder, Service {
  readonly name = 'key directory'
  readonly #options: KeyDirectoryOptions
  #keys: Keys
  #state: string
  #timer: TimerHandle | undefined

  /** @throws LsxError REFUSED, party self: a file that is no verification key, or a directory that cannot be read */
  constructor(options: KeyDirectoryOptions) {
    this.#options = options
    this.#state = stateOf(options.path)
    this.#keys = loadKeys(options.path)
  }

  find(party: string, keyId: string): VerificationKey | undefined {
    return this.#keys.get(party)?.get(keyId)
  }

  keysOf(party: string): readonly VerificationKey[] {
    return [...(this.#keys.get(party)?.values() ?? [])]
  }

  async start(): Promise<void> {
    this.#watch()
  }

  async stop(): Promise<void> {
    if (this.#timer !== undefined) this.#options.clock.cancelTimer(this.#timer)
    this.#timer = undefined
  }

  /**
   * Takes the files as they are now.
   *
   * @throws LsxError REFUSED, party self: then the keys stay as they were
   */
  reload(): void {
    // Before the files are read: what changes meanwhile is seen at the next look.
    const state = stateOf(this.#options.path)
    const before = this.#keys
    try {
      this.#keys = loadKeys(this.#options.path)
    } finally {
      this.#state = state
    }
    const change = changeOf(before, this.#keys)
    if (change.added.length + change.removed.length > 0)
      this.#options.logger.info({ audit: true, ...change }, 'the directory of verification keys has changed')
  }

  #watch(): void {
    const { clock, logger, path, pollMs = POLL_MS } = this.#options
    this.#timer = clock.startTimer(pollMs, () => {
      try {
        if (stateOf(path) !== this.#state) this.reload()
      } catch (error) {
        logger.error(
          { audit: true, error: describeError(error) },
          'the directory of verification keys cannot be used as it is now; the keys of before stay in force',
        )
      }
      this.#watch()
    })
  }
}

/** @throws LsxError REFUSED, party self */
function loadKeys(path: string): Keys {
  const keys = new Map<string, ReadonlyMap<string, VerificationKey>>()
  for (const party of foldersOf(path)) {
    const files = filesOf(join(path, party))
    if (files.length > MAX_KEYS_OF_A_PARTY)
      throw directoryError(path, `${party} has more than ${MAX_KEYS_OF_A_PARTY} keys`)
    const ofParty = new Map<string, VerificationKey>()
    for (const name of files) {
      const file = join(path, party, name)
      const keyId = name.slice(0, -SUFFIX.length)
      ofParty.set(keyId, parsePublicJwk(readPublicFile(file), { party, keyId, file }))
    }
    keys.set(party, ofParty)
  }
  return keys
}

/** Changes whenever a key file is added, removed, replaced or written to. */
function stateOf(path: string): string {
  const files = foldersOf(path).flatMap((party) => filesOf(join(path, party)).map((name) => join(party, name)))
  return files
    .map((name) => {
      const { mtimeMs, size, ino } = statOf(join(path, name))
      return `${name} ${mtimeMs} ${size} ${ino}`
    })
    .join('\n')
}

function foldersOf(path: string): string[] {
  return namesIn(path).filter((name) => isParty(name) && statOf(join(path, name)).isDirectory())
}

function filesOf(path: string): string[] {
  return namesIn(path).filter((name) => name.endsWith(SUFFIX) && isKeyId(name.slice(0, -SUFFIX.length)))
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path).sort()
  } catch (cause) {
    throw directoryError(path, `cannot read the key directory ${path}: ${reasonOf(cause)}`, cause)
  }
}

function statOf(path: string): Stats {
  try {
    return statSync(path)
  } catch (cause) {
    throw directoryError(path, `cannot read ${path}: ${reasonOf(cause)}`, cause)
  }
}

function changeOf(before: Keys, now: Keys): { added: string[]; removed: string[] } {
  const names = (keys: Keys) =>
    new Set([...keys].flatMap(([party, ofParty]) => [...ofParty.values()].map((key) => `${party}/${key.keyId}`)))
  const [had, has] = [names(before), names(now)]
  return {
    added: [...has].filter((name) => !had.has(name)),
    removed: [...had].filter((name) => !has.has(name)),
  }
}

function directoryError(path: string, message: string, cause?: unknown): LsxError {
  return new LsxError('REFUSED', message, { party: 'self', facts: { path }, cause })
}
