declare module 'pino-roll' {
  import type { SonicBoom } from 'sonic-boom'

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

  /** Resolves before the file is open: wait for 'ready' or 'error'. */
  export default function roll(options: RollOptions): Promise<SonicBoom & { readonly file: string | null }>
}
