import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const MIB = 1024 ** 2

/** A small disk in memory (tmpfs), which can be filled. */
export class SmallDisk {
  readonly path: string
  readonly #ballast: string

  private constructor(path: string) {
    this.path = path
    this.#ballast = join(path, 'ballast')
  }

  /** Mounts it. Throws where this machine does not let us. */
  static mount(path: string, bytes: number): SmallDisk {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'tmpfs', path], { stdio: 'ignore' })
    return new SmallDisk(path)
  }

  /** Leaves so many bytes free. */
  fill(leftBytes: number): void {
    const block = Buffer.alloc(MIB)
    const fd = openSync(this.#ballast, 'a', 0o600)
    try {
      for (let left = this.#freeBytes() - leftBytes; left > 0; left = this.#freeBytes() - leftBytes) {
        writeSync(fd, block, 0, Math.min(left, MIB))
      }
    } catch (error) {
      // What a store wrote meanwhile has made it full already.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    } finally {
      closeSync(fd)
    }
  }

  empty(): void {
    rmSync(this.#ballast, { force: true })
  }

  /** Lazily, so that nothing that is still open keeps it. */
  unmount(): void {
    execFileSync('umount', ['-l', this.path], { stdio: 'ignore' })
  }

  #freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path)
    return bavail * bsize
  }
}
