import type { Change } from './change.ts'

/** Writes that are gathered to become one transaction. They share its fate, and one promise. */
export class WriteGroup {
  readonly changes: Change[] = []
  readonly #written: Promise<void>
  #follow: (written: Promise<void>) => void = () => {}
  #writes = 0

  constructor() {
    this.#written = new Promise((resolve) => {
      this.#follow = resolve
    })
  }

  get writes(): number {
    return this.#writes
  }

  add(changes: readonly Change[]): Promise<void> {
    for (const change of changes) this.changes.push(change)
    this.#writes++
    return this.#written
  }

  /** Settles as `written` does. */
  follow(written: Promise<void>): void {
    this.#follow(written)
  }
}
