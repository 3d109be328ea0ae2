/** A field of the file that is wrong, with the dotted path to it; an empty path is the file as a whole. */
export interface ConfigProblem {
  readonly path: string
  readonly message: string
}
