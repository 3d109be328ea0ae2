import { existsSync, linkSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { createFileExclusive, pinFileOf, readSecretFile, reasonOf, SECRET_MODE, syncDirectory } from '../certs/index.ts'
import { LsxError } from '../runtime/index.ts'
import type { KeyKind } from './key-kind.ts'
import { type KeyFacts, readManifest, writeManifest } from './manifest.ts'
import { withRingLock } from './ring-lock.ts'

/** Between which a crash leaves another picture. Tests end the process there. */
export type RotationStep =
  | 'next-made'
  | 'next-published'
  | 'active-kept'
  | 'next-in-place'
  | 'published'
  | 'manifest-written'

export interface KeyRingOptions {
  /** The active key. The next one and retired ones lie beside it. */
  readonly file: string
  readonly kind: KeyKind
  /** How long a retired key is kept. */
  readonly overlapMs: number
  readonly onStep?: (step: RotationStep) => void
}

export interface RingKey extends KeyFacts {
  readonly file: string
  readonly kind: KeyKind['name']
  readonly publicText: string | undefined
}

interface RingFile {
  readonly file: string
  readonly keyId: string
  readonly state: KeyFacts['state']
}

const MAX_RETIRED = 16

/**
 * One key and its rotation, as files: `NAME.key` is active, `NAME.next.key` is to be, `NAME.old-KEYID.key` was. Each
 * change is one rename or link of a file that is whole and on disk, so after a crash at any point there is one active
 * key, and none is lost. `NAME.keys.json` has the times.
 */
export class KeyRing {
  readonly kind: KeyKind
  readonly file: string
  readonly #options: KeyRingOptions
  readonly #stem: string

  constructor(options: KeyRingOptions) {
    this.#options = options
    this.kind = options.kind
    this.file = options.file
    this.#stem = options.file.endsWith('.key') ? options.file.slice(0, -'.key'.length) : options.file
  }

  get nextFile(): string {
    return `${this.#stem}.next.key`
  }

  get manifestFile(): string {
    return `${this.#stem}.keys.json`
  }

  /**
   * The keys as they lie on disk: the active one first, then the next, then retired ones.
   *
   * @throws LsxError REFUSED, party self: a file's permissions, or no such key
   */
  look(): readonly RingKey[] {
    const known = new Map(readManifest(this.manifestFile).map((facts) => [facts.keyId, facts]))
    return this.#files().map(({ file, keyId, state }) => {
      const facts = known.get(keyId)
      const changedAtMs = Math.floor(statSync(file).mtimeMs)
      return {
        kind: this.kind.name,
        file,
        keyId,
        state,
        createdAtMs: facts?.createdAtMs ?? changedAtMs,
        activeFromMs: facts?.activeFromMs ?? (state === 'active' ? changedAtMs : undefined),
        retireAtMs: state === 'retired' ? (facts?.retireAtMs ?? changedAtMs + this.#options.overlapMs) : undefined,
        publicText: this.kind.publicOf(readSecretFile(file), file),
      }
    })
  }

  /** Makes the next key, unless there is one, and says from when on it is to be used; undefined: by command. */
  prepare(nowMs: number, activeFromMs?: number): RingKey {
    return this.#locked(() => {
      if (!existsSync(this.file)) throw this.#refused(`there is no key ${this.file} yet that could be rotated`)
      if (!existsSync(this.nextFile)) {
        const content = this.kind.newKey()
        createFileExclusive(this.nextFile, content, SECRET_MODE)
        content.fill(0)
        this.#step('next-made')
      }
      this.kind.prepared?.(readSecretFile(this.nextFile), this.nextFile, { activeFromMs: activeFromMs ?? nowMs })
      this.#step('next-published')
      this.#note(nowMs, (facts) => (facts.state === 'next' ? { ...facts, activeFromMs } : facts))
      return this.#mustFind('next')
    })
  }

  /** Puts the next key in the place of the active one, which is kept for the overlap. */
  activate(nowMs: number): RingKey {
    return this.#locked(() => {
      if (!existsSync(this.nextFile)) throw this.#refused(`there is no next key for ${this.file}: prepare one first`)
      const retireAtMs = nowMs + this.#options.overlapMs
      const active = readSecretFile(this.file)
      const oldFile = `${this.#stem}.old-${this.kind.keyIdOf(active, this.file)}.key`
      if (this.#files().filter(({ state }) => state === 'retired').length >= MAX_RETIRED)
        throw this.#refused(`${MAX_RETIRED} retired keys of ${this.file} wait for the end of their overlap`)
      if (!existsSync(oldFile)) linkSync(this.file, oldFile)
      syncDirectory(dirname(this.file))
      this.#step('active-kept')
      renameSync(this.nextFile, this.file)
      syncDirectory(dirname(this.file))
      this.#step('next-in-place')
      this.kind.retired?.(active, oldFile, { retiredAtMs: nowMs })
      this.#settleFiles()
      this.#step('published')
      this.#note(nowMs, (facts) => {
        if (facts.state === 'active') return { ...facts, activeFromMs: nowMs }
        return facts.state === 'retired' && facts.retireAtMs === undefined ? { ...facts, retireAtMs } : facts
      })
      this.#step('manifest-written')
      return this.#mustFind('active')
    })
  }

  /** Removes a retired key. `mayGo` has the last word, for a key that something still needs. */
  removeRetired(nowMs: number, mayGo: (key: RingKey) => boolean = () => true): readonly RingKey[] {
    const due = this.look().filter((key) => key.state === 'retired' && (key.retireAtMs ?? 0) <= nowMs && mayGo(key))
    if (due.length === 0) return []
    return this.#locked(() => {
      for (const { file } of due) rmSync(file, { force: true })
      syncDirectory(dirname(this.file))
      this.#note(nowMs, (facts) => facts)
      return due
    })
  }

  /** After a crash: what is public is brought in line with the active key, and the manifest with the files. */
  repair(nowMs: number): void {
    if (!existsSync(this.file)) return
    const keys = readManifest(this.manifestFile)
    const files = this.#files()
    const isInLine =
      keys.length === files.length &&
      files.every(({ keyId, state }) => keys.some((key) => key.keyId === keyId && key.state === state))
    if (isInLine || (keys.length === 0 && files.length === 1)) return
    this.#locked(() => {
      for (const { file, keyId, state } of files)
        if (state === 'retired' && !keys.some((key) => key.keyId === keyId && key.state === 'retired'))
          this.kind.retired?.(readSecretFile(file), file, { retiredAtMs: nowMs })
      this.#settleFiles()
      const retireAtMs = nowMs + this.#options.overlapMs
      this.#note(nowMs, (facts) => {
        if (facts.state === 'retired') return { ...facts, retireAtMs: facts.retireAtMs ?? retireAtMs }
        return facts.state === 'active' ? { ...facts, activeFromMs: facts.activeFromMs ?? nowMs } : facts
      })
    })
  }

  #settleFiles(): void {
    this.kind.activated?.(readSecretFile(this.file), this.file)
    if (!existsSync(this.nextFile)) rmSync(pinFileOf(this.nextFile), { force: true })
  }

  /** Retired files that are the active key by another name, after a crash before the switch, do not count. */
  #files(): readonly RingFile[] {
    const files: RingFile[] = []
    const activeId = existsSync(this.file) ? this.#idOf(this.file) : undefined
    if (activeId !== undefined) files.push({ file: this.file, keyId: activeId, state: 'active' })
    if (existsSync(this.nextFile)) files.push({ file: this.nextFile, keyId: this.#idOf(this.nextFile), state: 'next' })
    for (const file of this.#retiredFiles()) {
      const keyId = this.#idOf(file)
      if (keyId !== activeId) files.push({ file, keyId, state: 'retired' })
    }
    return files
  }

  #retiredFiles(): readonly string[] {
    const prefix = `${basename(this.#stem)}.old-`
    const directory = dirname(this.file)
    try {
      return readdirSync(directory)
        .filter((name) => name.startsWith(prefix) && name.endsWith('.key'))
        .sort()
        .map((name) => join(directory, name))
    } catch (cause) {
      throw this.#refused(`cannot list ${directory}: ${reasonOf(cause)}`, cause)
    }
  }

  #idOf(file: string): string {
    return this.kind.keyIdOf(readSecretFile(file), file)
  }

  #note(nowMs: number, change: (facts: KeyFacts) => KeyFacts): void {
    const known = new Map(readManifest(this.manifestFile).map((facts) => [facts.keyId, facts]))
    const keys = this.#files().map(({ file, keyId, state }): KeyFacts => {
      const facts = known.get(keyId)
      return change({
        keyId,
        state,
        createdAtMs: facts?.createdAtMs ?? Math.min(nowMs, Math.floor(statSync(file).mtimeMs)),
        activeFromMs: facts?.activeFromMs,
        retireAtMs: state === 'retired' ? facts?.retireAtMs : undefined,
      })
    })
    writeManifest(this.manifestFile, keys)
  }

  #mustFind(state: KeyFacts['state']): RingKey {
    const found = this.look().find((key) => key.state === state)
    if (found === undefined) throw new LsxError('INTERNAL', `the ring of ${this.file} has no ${state} key`)
    return found
  }

  #locked<T>(work: () => T): T {
    return withRingLock(`${this.#stem}.keys.lock`, work)
  }

  #step(step: RotationStep): void {
    this.#options.onStep?.(step)
  }

  #refused(message: string, cause?: unknown): LsxError {
    return new LsxError('REFUSED', message, { party: 'self', facts: { file: this.file }, cause })
  }
}
