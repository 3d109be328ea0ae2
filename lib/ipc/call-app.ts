/** Calls back into the app. What it throws is the app's uncaught exception, not a failure of the connection. */
export function callApp(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}
