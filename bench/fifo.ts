/** First in, first out, without moving what is in it: for peers that answer in order. */
export class Fifo<T> {
  #items: (T | undefined)[] = new Array(1_024)
  #head = 0
  #size = 0

  get size(): number {
    return this.#size
  }

  push(item: T): void {
    if (this.#size === this.#items.length) this.#grow()
    this.#items[(this.#head + this.#size++) % this.#items.length] = item
  }

  shift(): T | undefined {
    if (this.#size === 0) return undefined
    const item = this.#items[this.#head]
    this.#items[this.#head] = undefined
    this.#head = (this.#head + 1) % this.#items.length
    this.#size--
    return item
  }

  #grow(): void {
    const { length } = this.#items
    const items: (T | undefined)[] = new Array(length * 2)
    for (let index = 0; index < length; index++) items[index] = this.#items[(this.#head + index) % length]
    this.#items = items
    this.#head = 0
  }
}
