import type { Handler, InquiryAnswer } from './handler.ts'

/** How one method is served: by a function of the bank's module, or by its system over HTTP. */
export interface Route {
  readonly handler: Handler
  /** Asked about a key that was begun and whose end is not known; see InquiryAnswer. */
  readonly inquire?: ((key: string) => Promise<InquiryAnswer>) | undefined
  /** Configured duration, ms; learned where undefined; 0 turns the check off. */
  readonly expectedMs?: number | undefined
  /** May run twice without harm: its keys are remembered in memory only. */
  readonly repeatable?: boolean | undefined
}

/** By method name. */
export type Routes = ReadonlyMap<string, Route>
