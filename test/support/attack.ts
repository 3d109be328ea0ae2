import type { Test } from 'tap'
import type { InProcess, TestDaemon, TestLs } from './daemons.ts'
import { eventually, openHandles, untilHandles } from './open-handles.ts'

export interface Defenders {
  readonly ls: TestLs & Partial<InProcess>
  /** By bank code; those of another process are not looked at for leaks. */
  readonly xchanges: ReadonlyMap<string, TestDaemon & Partial<InProcess>>
}

/** Long enough that answers and the attack overlap, short enough to ask many times. */
const PROBE_MS = 10

/**
 * Runs an attack and proves that it stays without effect on `bystander`: that bank answers every request meanwhile and
 * afterwards, over the same session. Then everything that the attack opened must be gone: sockets, and timers of the
 * daemons. `attack` ends with its target in the state in which it was at first.
 */
export async function withstand(
  t: Test,
  { ls, xchanges }: Defenders,
  bystander: string,
  attack: () => Promise<void>,
  /** With echoes so quick that a busy machine misses some, a session may be renewed without any attack. */
  { keepsSession = true }: { keepsSession?: boolean } = {},
): Promise<void> {
  const { sessionId } = await ls.bankStatus(bystander)
  const app = await ls.connectApp()
  const handles = openHandles()
  const timers = pendingTimers({ ls, xchanges })

  let attacking = true
  const outcomes: Record<string, number> = {}
  const probe = async () => {
    do {
      const { outcome } = await app.request({
        to: bystander,
        method: 'slow',
        payload: { ms: PROBE_MS },
        timeoutMs: 5_000,
      })
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    } while (attacking)
  }
  const probing = probe()
  try {
    await attack()
  } finally {
    attacking = false
    await probing
  }
  const afterwards = await app.request({ to: bystander, method: 'echo', payload: { still: 'here' } })
  t.strictSame(
    [Object.keys(outcomes), afterwards.outcome, afterwards.payload],
    [['answered'], 'answered', { still: 'here' }],
    `bank ${bystander} answered during the attack and after it`,
  )
  if (keepsSession) t.equal((await ls.bankStatus(bystander)).sessionId, sessionId, `bank ${bystander} kept its session`)
  await untilHandles(handles)
  await eventually(
    () => pendingTimers({ ls, xchanges }) <= timers,
    () => `${pendingTimers({ ls, xchanges })} timers are pending, at first ${timers}`,
  )
  t.pass('the attack left no socket and no timer')
  await app.close()
}

function pendingTimers({ ls, xchanges }: Defenders): number {
  let pending = ls.clock?.pendingTimers ?? 0
  for (const xchange of xchanges.values()) pending += xchange.clock?.pendingTimers ?? 0
  return pending
}
