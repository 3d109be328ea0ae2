/** Buffer's native slices, without the argument checks of `toString`; Node has them, its type declarations do not. */
export type TextBytes = Buffer & {
  latin1Slice(start: number, end: number): string
  utf8Slice(start: number, end: number): string
}
