import { ClosedLoop, type LoadOptions, type LoadResult, measure, type Slice } from './load.ts'
import type { BenchClient, Endpoint, SystemModule } from './system.ts'

/**
 * A process of the benchmark: `child.js MODULE` loads one system and does, one at a time, what its parent asks for over
 * the channel of child_process. It ends with its parent, however that ended.
 */

export type Command =
  | { readonly op: 'serve'; readonly endpoint: Endpoint }
  | { readonly op: 'measure'; readonly endpoint: Endpoint; readonly load: LoadOptions }
  /** Begins a load that goes on until `stop`. */
  | { readonly op: 'start'; readonly endpoint: Endpoint; readonly concurrency: number; readonly bodyBytes: number }
  | { readonly op: 'slice' }
  | { readonly op: 'stop' }

export type Answer =
  | { readonly ok: true; readonly result: { readonly port: number } | LoadResult | Slice | StopResult | undefined }
  | { readonly ok: false; readonly message: string }

export interface StopResult {
  readonly errors: number
  readonly firstError: string | undefined
}

let running: { readonly client: BenchClient; readonly loop: ClosedLoop } | undefined

async function perform(system: SystemModule, command: Command): Promise<Extract<Answer, { ok: true }>['result']> {
  switch (command.op) {
    case 'serve':
      if (system.serve === undefined) throw new Error('this system has no server of its own')
      return await system.serve(command.endpoint)
    case 'measure': {
      const client = await system.open({ ...command.endpoint, concurrency: command.load.concurrency })
      try {
        return await measure(client, command.load)
      } finally {
        await client.close()
      }
    }
    case 'start': {
      const { endpoint, concurrency, bodyBytes } = command
      const client = await system.open({ ...endpoint, concurrency })
      running = { client, loop: new ClosedLoop(client, bodyBytes) }
      running.loop.start(concurrency)
      return undefined
    }
    case 'slice':
      return running?.loop.takeSlice()
    case 'stop': {
      if (running === undefined) throw new Error('no load runs')
      const { client, loop } = running
      running = undefined
      await loop.stop()
      await client.close()
      return { errors: loop.errors, firstError: loop.firstError }
    }
  }
}

async function main(): Promise<void> {
  const system = (await import(process.argv[2] ?? '')) as SystemModule
  // Ctrl-C goes to the whole group; the parent decides when its children end.
  process.on('SIGINT', () => {})
  process.on('disconnect', () => process.exit(0))
  process.on('message', (command: Command) => {
    perform(system, command).then(
      (result) => process.send?.({ ok: true, result } satisfies Answer),
      (error: Error) => process.send?.({ ok: false, message: error.message } satisfies Answer),
    )
  })
}

await main()
