import { lockStore } from '../../lib/store/index.ts'

/** Takes the lock of the directory that it is told, says so, and holds it until it is killed. */
await lockStore(process.argv[2] ?? '')
process.send?.('locked')
setInterval(() => {}, 60_000)
