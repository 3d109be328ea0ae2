import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The compiled project. */
export const DIST = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

/** However often it is called, the work is done once; every call waits for it. */
export function onlyOnce(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return () => {
    done ??= work()
    return done
  }
}
