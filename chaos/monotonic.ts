/** Milliseconds of the machine's monotonic clock: the same in all processes, and untouched by the clock jumps that the harness makes. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000
}
