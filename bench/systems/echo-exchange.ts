import { defineHandlers } from '../../lib/xchange/handler.ts'

/** The bank of the benchmark: gives the payload back, so that the path is measured and not the bank. */
export default defineHandlers({ methods: { echo: (payload) => payload } })
