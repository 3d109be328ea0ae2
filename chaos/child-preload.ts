/**
 * Imported into each daemon before its program (`node --import`): ends the process when the harness is gone, and moves
 * its wall clock when the harness says so. The monotonic clock stays as it is.
 */
export const CLOCK_OFFSET_VARIABLE = 'LSX_CHAOS_CLOCK_OFFSET_MS'

export interface ClockMessage {
  readonly clockOffsetMs: number
}

if (process.channel !== undefined) {
  const wallClock = Date.now
  let offsetMs = Number(process.env[CLOCK_OFFSET_VARIABLE] ?? 0)
  Date.now = () => wallClock() + offsetMs
  process.on('message', (message: ClockMessage) => {
    offsetMs = message.clockOffsetMs
  })
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
  // The channel must not keep a daemon that has drained from ending.
  process.channel.unref()
}
