import { defineHandlers, type Handler } from '../../lib/xchange/handler.ts'

const echo: Handler = (payload) => payload

/**
 * The bank of the benchmark gives the payload back, so that the path is measured and not the bank. `echo` is repeatable,
 * as reading methods are; `echo-once` runs once for each key, which is on disk before it runs.
 */
export default defineHandlers({ repeatable: ['echo'], methods: { echo, 'echo-once': echo } })
