declare module 'pino-roll' {
  import type { EventEmitter } from 'node:events'

  export interface RollOptions {
    /** Path without date, number and extension. */
    readonly file: string
    readonly extension: string
    /** A number means MiB; '1000b' means bytes. */
    readonly size: string
    readonly frequency: 'daily'
    readonly dateFormat: string
    readonly limit: { readonly count: number; readonly removeOtherLogFiles: boolean }
    readonly mkdir: boolean
    readonly mode: number
    /** Bytes that may wait; more are dropped with a 'drop' event. */
    readonly maxLength: number
  }

  /** The part of sonic-boom that is used. Events: ready (a file is open), write, drain, drop, error, close. */
  export interface RollingFile extends EventEmitter {
    /** Path of the file being written. */
    readonly file: string | null
    /** False when much is waiting. */
    write(text: string): boolean
    reopen(): void
    end(): void
    destroy(): void
  }

  /** Resolves before the file is open: wait for 'ready' or 'error'. */
  export default function roll(options: RollOptions): Promise<RollingFile>
}
