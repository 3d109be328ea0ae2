import { LsxError } from './errors.ts'

/** Where the chaos harness can end a daemon: before and after each step after which a crash leaves another picture. */
export const FAILPOINTS = [
  'journal-accept:before',
  'journal-accept:after',
  'send:before',
  'send:after',
  'settle:before',
  'settle:after',
  'kx-send:before',
  'kx-send:after',
  'epoch-switch:before',
  'epoch-switch:after',
  'handler-begin:before',
  'handler-begin:after',
  'handler-end:before',
  'handler-end:after',
  'response-send:before',
  'response-send:after',
] as const

export type FailpointName = (typeof FAILPOINTS)[number]

let armed: { readonly name: FailpointName; remaining: number } | undefined

/**
 * Arms one failpoint for this process: `NAME` or `NAME@COUNT`, to die at the COUNT-th time. For tests of crashes only;
 * nothing arms one by itself. @throws LsxError BAD_REQUEST
 */
export function armFailpoint(spec: string): void {
  const [name = '', count = '1'] = spec.split('@', 2)
  const known = FAILPOINTS.find((failpoint) => failpoint === name)
  const remaining = Number(count)
  if (known === undefined || !Number.isInteger(remaining) || remaining < 1) {
    throw new LsxError('BAD_REQUEST', `no failpoint ${JSON.stringify(spec)}; known: ${FAILPOINTS.join(', ')}`, {
      party: 'self',
    })
  }
  armed = { name: known, remaining }
}

/** Ends the process as `kill -9` would, where this failpoint is armed and its count has come. Costs one comparison otherwise. */
export function failpoint(name: FailpointName): void {
  if (armed === undefined || armed.name !== name) return
  armed.remaining--
  if (armed.remaining > 0) return
  process.kill(process.pid, 'SIGKILL')
  // The signal ends the process before anything else of it runs; this thread must not get a step further.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}
