import type { Tone } from './io.ts'

/** How a channel's state looks where colours are on. */
export function toneOf(state: string): Tone {
  if (state === 'connected') return 'good'
  return state === 'quarantined' ? 'bad' : 'warning'
}
