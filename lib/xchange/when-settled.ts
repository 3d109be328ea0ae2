/**
 * Goes on with the result of `start`: on the same call stack where it is there at once, which is the usual case and
 * costs no turn of the event loop, else when the promise settles. Neither continuation may throw.
 */
export function whenSettled<T>(
  start: () => T | Promise<T>,
  onResult: (result: T) => void,
  onError: (error: unknown) => void,
): void {
  let result: T | Promise<T>
  let pending: boolean
  try {
    result = start()
    pending = isThenable(result)
  } catch (error) {
    onError(error)
    return
  }
  if (pending) Promise.resolve(result).then(onResult, onError)
  else onResult(result as T)
}

/** Other than `instanceof Promise` also for the promises of other libraries. */
function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
