/**
 * For what a peer can bring about as often as it likes: a line as it begins and one at each doubling, so that it fills
 * no disk. `count` is how often it has happened.
 */
export function isWorthALine(count: number): boolean {
  return (count & (count - 1)) === 0
}
