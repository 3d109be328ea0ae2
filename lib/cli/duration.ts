import { InvalidArgumentError } from 'commander'

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Reads `500ms`, `5s`, `2m`, `1.5h`, `7d` as whole milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)$/.exec(text)
  const unitMs = UNITS_MS[match?.[2] ?? '']
  return match === null || unitMs === undefined ? undefined : Math.round(Number(match[1]) * unitMs)
}

/** A parser for an option of commander that takes durations within these bounds. */
export function durationOption(minMs: number, maxMs: number): (text: string) => number {
  return (text) => {
    const durationMs = parseDuration(text)
    if (durationMs === undefined) throw new InvalidArgumentError('Give a duration such as 500ms, 5s, 2m, 1h or 7d.')
    if (durationMs < minMs || durationMs > maxMs) {
      throw new InvalidArgumentError(`Give ${formatDuration(minMs)} to ${formatDuration(maxMs)}.`)
    }
    return durationMs
  }
}

/** Two units at most, rounded down: `250ms`, `12.3s`, `3m05s`, `2h05m`, `5d3h`. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, Math.floor(durationMs))
  if (ms < 1_000) return `${ms}ms`
  const seconds = Math.floor(ms / 1_000)
  if (seconds < 60) return `${Math.floor(ms / 100) / 10}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return pair(minutes, 'm', seconds % 60, 's')
  const hours = Math.floor(minutes / 60)
  if (hours < 24) return pair(hours, 'h', minutes % 60, 'm')
  const days = Math.floor(hours / 24)
  return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large}${largeUnit}` : `${large}${largeUnit}${String(small).padStart(2, '0')}${smallUnit}`
}

/** For round trips and key exchanges: `0.84 ms`, `12.5 ms`, `3210 ms`. */
export function formatMilliseconds(ms: number | undefined): string {
  if (ms === undefined) return '-'
  return `${ms.toFixed(ms < 10 ? 2 : ms < 1_000 ? 1 : 0)} ms`
}
