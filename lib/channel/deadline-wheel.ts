/** What the wheel holds: an item carries its own links, so that putting in and taking out cost no allocation. */
export interface Deadlined {
  deadlineMs: number
  wheelNext: Deadlined | undefined
  wheelPrevious: Deadlined | undefined
  wheelSlot: number
}

const SLOTS = 512
const NO_SLOTS: (Deadlined | undefined)[] = []
/** An item is at most this much late. */
export const WHEEL_TICK_MS = 20

/**
 * Deadlines of one channel: one timer serves them all. Time is handed in.
 * Items lie in the slot of their deadline; one farther away than a whole turn stays for the next turn.
 */
export class DeadlineWheel<T extends Deadlined> {
  /** Made when the first item comes: of a thousand channels most are idle, and each has three wheels of 4 KiB. */
  #slots: (Deadlined | undefined)[] = NO_SLOTS
  #tick: number
  #size = 0

  constructor(nowMs: number) {
    this.#tick = Math.floor(nowMs / WHEEL_TICK_MS)
  }

  get size(): number {
    return this.#size
  }

  insert(item: T): void {
    if (this.#slots === NO_SLOTS) this.#slots = new Array<Deadlined | undefined>(SLOTS).fill(undefined)
    // Never behind the hand: what is due already fires at the next tick.
    const tick = Math.max(this.#tick + 1, Math.ceil(item.deadlineMs / WHEEL_TICK_MS))
    const slot = tick % SLOTS
    const head = this.#slots[slot]
    item.wheelSlot = slot
    item.wheelPrevious = undefined
    item.wheelNext = head
    if (head !== undefined) head.wheelPrevious = item
    this.#slots[slot] = item
    this.#size++
  }

  /** Takes an item out; one that is not in the wheel is left alone. */
  remove(item: T): void {
    if (item.wheelSlot < 0) return
    if (item.wheelPrevious === undefined) this.#slots[item.wheelSlot] = item.wheelNext
    else item.wheelPrevious.wheelNext = item.wheelNext
    if (item.wheelNext !== undefined) item.wheelNext.wheelPrevious = item.wheelPrevious
    item.wheelNext = undefined
    item.wheelPrevious = undefined
    item.wheelSlot = -1
    this.#size--
  }

  /** Moves the hand to `nowMs` and takes out all that fell due. */
  expire(nowMs: number): T[] {
    const expired: T[] = []
    const nowTick = Math.floor(nowMs / WHEEL_TICK_MS)
    const turns = this.#size === 0 ? 0 : Math.min(nowTick - this.#tick, SLOTS)
    for (let step = 1; step <= turns; step++) {
      let item = this.#slots[(this.#tick + step) % SLOTS]
      while (item !== undefined) {
        const next = item.wheelNext
        if (item.deadlineMs <= nowMs) {
          this.remove(item as T)
          expired.push(item as T)
        }
        item = next
      }
    }
    this.#tick = Math.max(this.#tick, nowTick)
    return expired
  }
}
