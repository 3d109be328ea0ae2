import { LsxError } from '../runtime/index.ts'
import type { Table } from '../store/index.ts'

const KEY = 'generation'

export function validateGeneration(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new LsxError('INTERNAL', 'the stored generation is no whole number')
  }
  return value
}

/**
 * LS's fencing number for this process: above every one before it, also where the clock was set back.
 * It is on disk before any xchange hears of it.
 */
export async function nextGeneration(table: Table<number>, nowMs: number): Promise<number> {
  const generation = Math.max((table.get(KEY) ?? 0) + 1, nowMs)
  await table.put(KEY, generation)
  return generation
}
