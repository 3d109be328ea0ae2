import type { LsxError } from '../../lib/runtime/index.ts'
import type { Entry, KeyRange, ReadRange, Store, Table, VerifyReport } from '../../lib/store/index.ts'

/** A table in memory: what was put is there at once; `failPuts` and `damaged` play a bad disk. */
export class MemoryTable<T> implements Table<T> {
  readonly name: string
  readonly values = new Map<string, T>()
  /** All that was ever put, in order. */
  readonly puts: Entry<T>[] = []
  failPuts: LsxError | undefined
  readonly damaged = new Map<string, LsxError>()

  constructor(name: string) {
    this.name = name
  }

  get(key: string): T | undefined {
    const damage = this.damaged.get(key)
    if (damage !== undefined) throw damage
    return this.values.get(key)
  }

  async put(key: string, value: T): Promise<void> {
    this.putSync(key, value)
  }

  putSync(key: string, value: T): void {
    if (this.failPuts !== undefined) throw this.failPuts
    this.values.set(key, value)
    this.puts.push({ key, value })
  }

  async remove(key: string): Promise<void> {
    this.values.delete(key)
  }

  range(range: ReadRange): Entry<T>[] {
    return this.keys(range).map((key) => ({ key, value: this.values.get(key) as T }))
  }

  keys({ start = '', end, limit, reverse = false }: KeyRange): string[] {
    const keys = [...this.values.keys()].filter((key) => key >= start && (end === undefined || key < end)).sort()
    return (reverse ? keys.reverse() : keys).slice(0, limit)
  }

  count(range: { start?: string; end?: string } = {}): number {
    return this.keys({ ...range, limit: Number.MAX_SAFE_INTEGER }).length
  }

  async verify(): Promise<VerifyReport> {
    return { records: this.values.size, damaged: this.damaged.size, errors: [...this.damaged.values()] }
  }
}

/** A store without a disk. */
export class MemoryStore implements Store {
  readonly path = 'in memory'
  readonly stall = undefined
  readonly tables = new Map<string, MemoryTable<unknown>>()

  table<T>(name: string): MemoryTable<T> {
    const table = new MemoryTable<T>(name)
    this.tables.set(name, table as MemoryTable<unknown>)
    return table
  }

  async verify(): Promise<VerifyReport> {
    return { records: 0, damaged: 0, errors: [] }
  }

  async close(): Promise<void> {}
}
