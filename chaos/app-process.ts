import { AppDriver, type AppOptions } from './app-driver.ts'

/** What the harness tells an app, and what an app tells the harness. */
export type ToApp = { readonly calmDown: true }
export type FromApp = { readonly done: true; readonly openKeys: number }

async function main(): Promise<void> {
  const driver = new AppDriver(JSON.parse(process.argv[2] ?? '{}') as AppOptions)
  process.on('message', (message: ToApp) => {
    if (message.calmDown) driver.calmDown()
  })
  // The harness ends its apps itself, also on Ctrl-C, which reaches them too.
  process.on('SIGINT', () => {})
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
  await driver.run()
  const done: FromApp = { done: true, openKeys: driver.openKeys }
  process.send?.(done, () => process.exit(0))
}

await main()
