import { readdirSync, type Stats, statSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { readPublicFile, reasonOf } from '../../certs/index.ts'
import {
  type Clock,
  describeError,
  type Logger,
  LsxError,
  type Service,
  type TimerHandle,
  toLsxError,
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

type PartyKeys = ReadonlyMap<string, VerificationKey>
type Keys = ReadonlyMap<string, PartyKeys>
/** Of each party what changes whenever one of its files is added, removed, replaced or written to. */
type States = ReadonlyMap<string, string>

const POLL_MS = 5_000
const MAX_KEYS_OF_A_PARTY = 256
const SUFFIX = '.json'

/**
 * The verification keys of all parties. Each file is a key, so two keys of a party are in force as long as both files
 * are there and their times last. Changes are taken up while the daemon runs, party by party: one whose files are a
 * mistake keeps the keys that it had.
 */
export class KeyDirectory implements KeyFinder, Service {
  readonly name = 'key directory'
  readonly #options: KeyDirectoryOptions
  #keys: Keys
  #states: States
  #timer: TimerHandle | undefined
  #stop: AbortController | undefined
  #look: Promise<void> = Promise.resolve()
  #lastMistake: string | undefined

  /** @throws LsxError REFUSED, party self: a file that is no verification key, or a directory that cannot be read */
  constructor(options: KeyDirectoryOptions) {
    this.#options = options
    this.#states = statesOf(options.path)
    this.#keys = loadKeys(options.path)
  }

  /** Resolves when the look for changes that is under way is over. */
  get looked(): Promise<void> {
    return this.#look
  }

  find(party: string, keyId: string): VerificationKey | undefined {
    return this.#keys.get(party)?.get(keyId)
  }

  keysOf(party: string): readonly VerificationKey[] {
    return [...(this.#keys.get(party)?.values() ?? [])]
  }

  async start(): Promise<void> {
    this.#stop ??= new AbortController()
    this.#arm(this.#stop.signal)
  }

  async stop(): Promise<void> {
    if (this.#timer !== undefined) this.#options.clock.cancelTimer(this.#timer)
    this.#timer = undefined
    this.#stop?.abort()
    await this.#look
  }

  /**
   * Takes all files as they are now.
   *
   * @throws LsxError REFUSED, party self, for any mistake: then the keys stay as they were
   */
  reload(): void {
    // Before the files are read: what changes meanwhile is seen at the next look.
    const states = statesOf(this.#options.path)
    this.#replace(loadKeys(this.#options.path))
    this.#states = states
  }

  #replace(keys: Keys): void {
    const change = changeOf(this.#keys, keys)
    this.#keys = keys
    if (change.added.length + change.removed.length > 0)
      this.#options.logger.info({ audit: true, ...change }, 'the directory of verification keys has changed')
  }

  #arm(signal: AbortSignal): void {
    const { clock, pollMs = POLL_MS } = this.#options
    this.#timer = clock.startTimer(pollMs, () => {
      this.#timer = undefined
      this.#look = this.#takeChanges(signal)
        .catch((error) => this.#refuse(error))
        .then(() => {
          if (!signal.aborted) this.#arm(signal)
        })
    })
  }

  async #takeChanges(signal: AbortSignal): Promise<void> {
    const { path } = this.#options
    const states = await readStates(path, signal)
    if (signal.aborted) return
    const changed = [...states.keys()].filter((party) => states.get(party) !== this.#states.get(party))
    const isGone = [...this.#states.keys()].some((party) => !states.has(party))
    this.#states = states
    if (changed.length === 0 && !isGone) return
    this.#lastMistake = undefined
    const keys = new Map([...this.#keys].filter(([party]) => states.has(party)))
    for (const party of changed) {
      try {
        keys.set(party, loadPartyKeys(path, party))
      } catch (error) {
        this.#refuse(error)
      }
    }
    this.#replace(keys)
  }

  /** Each mistake is said once, however often it is looked at. */
  #refuse(error: unknown): void {
    const { message } = toLsxError(error)
    if (message === this.#lastMistake) return
    this.#lastMistake = message
    this.#options.logger.error(
      { audit: true, error: describeError(error) },
      'the directory of verification keys cannot be used as it is now; the keys of before stay in force',
    )
  }
}

/** @throws LsxError REFUSED, party self */
function loadKeys(path: string): Keys {
  return new Map(foldersOf(path).map((party) => [party, loadPartyKeys(path, party)]))
}

function loadPartyKeys(path: string, party: string): PartyKeys {
  const files = namesIn(join(path, party)).filter(isKeyFile)
  if (files.length > MAX_KEYS_OF_A_PARTY)
    throw directoryError(path, `${party} has more than ${MAX_KEYS_OF_A_PARTY} keys`)
  const keys = new Map<string, VerificationKey>()
  for (const name of files) {
    const file = join(path, party, name)
    const keyId = name.slice(0, -SUFFIX.length)
    keys.set(keyId, parsePublicJwk(readPublicFile(file), { party, keyId, file }))
  }
  return keys
}

function statesOf(path: string): States {
  const stateOf = (party: string) =>
    namesIn(join(path, party))
      .filter(isKeyFile)
      .map((name) => stateText(name, statOf(join(path, party, name))))
  return new Map(foldersOf(path).map((party) => [party, stateOf(party).join('\n')]))
}

/** The same without holding anything up: there may be thousands of parties. */
async function readStates(path: string, signal: AbortSignal): Promise<States> {
  const states = new Map<string, string>()
  for (const party of (await readdir(path)).filter(isParty).sort()) {
    if (signal.aborted) break
    if (!(await stat(join(path, party))).isDirectory()) continue
    const texts: string[] = []
    for (const name of (await readdir(join(path, party))).filter(isKeyFile).sort())
      texts.push(stateText(name, await stat(join(path, party, name))))
    states.set(party, texts.join('\n'))
  }
  return states
}

function stateText(name: string, { mtimeMs, size, ino }: Stats): string {
  return `${name} ${mtimeMs} ${size} ${ino}`
}

function isKeyFile(name: string): boolean {
  return name.endsWith(SUFFIX) && isKeyId(name.slice(0, -SUFFIX.length))
}

function foldersOf(path: string): string[] {
  return namesIn(path).filter((name) => isParty(name) && statOf(join(path, name)).isDirectory())
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
