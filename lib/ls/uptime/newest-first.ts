/** A sorted source read backwards, a page at a time. */
export interface Source<T> {
  /** No item of the source has a higher key. Lets sources be left unopened as long as others are newer. */
  readonly highestKey: string
  /** Up to a page of items with keys below `before` (all when undefined), highest first; empty at the end. */
  readPage(before: string | undefined): readonly { key: string; value: T }[]
}

interface Cursor<T> {
  readonly source: Source<T>
  page: readonly { key: string; value: T }[]
  index: number
}

/** The `limit` items with the highest keys of all sources together, highest first. */
export function newestFirst<T>(sources: readonly Source<T>[], limit: number): T[] {
  const unopened = [...sources].sort((left, right) => compare(left.highestKey, right.highestKey))
  /** Ascending by the key each stands at, so that the newest is last. */
  const cursors: Cursor<T>[] = []
  const newest: T[] = []
  while (newest.length < limit) {
    const head = cursors.at(-1)
    const next = unopened.at(-1)
    if (next !== undefined && (head === undefined || next.highestKey >= keyAt(head))) {
      unopened.pop()
      insert(cursors, { source: next, page: next.readPage(undefined), index: 0 })
      continue
    }
    if (head === undefined) break
    cursors.pop()
    const item = head.page[head.index]
    if (item === undefined) continue
    newest.push(item.value)
    head.index++
    if (head.index === head.page.length) {
      head.page = head.source.readPage(item.key)
      head.index = 0
    }
    insert(cursors, head)
  }
  return newest
}

function insert<T>(cursors: Cursor<T>[], cursor: Cursor<T>): void {
  if (cursor.index >= cursor.page.length) return
  const key = keyAt(cursor)
  let low = 0
  let high = cursors.length
  while (low < high) {
    const middle = (low + high) >> 1
    const other = cursors[middle]
    if (other !== undefined && keyAt(other) < key) low = middle + 1
    else high = middle
  }
  cursors.splice(low, 0, cursor)
}

function keyAt<T>(cursor: Cursor<T>): string {
  return cursor.page[cursor.index]?.key ?? ''
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
