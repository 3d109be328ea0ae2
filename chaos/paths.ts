import { fileURLToPath } from 'node:url'

/** The compiled files that the harness starts or names in configurations; this one is compiled to dist/chaos. */
export const COMPILED = {
  childPreload: new URL('./child-preload.js', import.meta.url),
  appProcess: fileURLToPath(new URL('./app-process.js', import.meta.url)),
  ledgerExchange: fileURLToPath(new URL('./ledger-exchange.js', import.meta.url)),
  blindExchange: fileURLToPath(new URL('./blind-exchange.js', import.meta.url)),
  program: (name: 'lsd' | 'xchanged') => fileURLToPath(new URL(`../bin/${name}.js`, import.meta.url)),
} as const
