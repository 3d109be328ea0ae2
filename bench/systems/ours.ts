import { connect } from '../../lib/ipc/index.ts'
import type { BenchClient, OpenOptions } from '../system.ts'

/** Ours: an app's client over the unix socket of lsd, one connection; a routed request to bank 044 and back. */
export async function open({ socketPath = '', durable = false, method = 'echo' }: OpenOptions): Promise<BenchClient> {
  const ls = await connect(socketPath)
  return {
    request(body, done) {
      ls.request({ to: '044', method, payload: body, durable }).then(
        ({ outcome, code, message, payload }) => {
          if (outcome === 'answered' && code === undefined) done(undefined, payload as Buffer)
          else done(new Error(`${outcome} ${code ?? ''} ${message ?? ''}`))
        },
        (error: Error) => done(error),
      )
    },
    close: () => ls.close(),
  }
}
