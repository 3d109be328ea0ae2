import { readFileSync } from 'node:fs'
import { loadSigningKey } from '../message/jws/index.ts'
import { type Logger, LsxError, type Service } from '../runtime/index.ts'
import type { XchangeConfig } from './config.ts'
import { loadHandlerModules } from './handler-modules.ts'
import { HttpForward, type HttpForwardOptions } from './http-forward.ts'
import type { Route } from './route.ts'

/** The routes of all modules and http targets. A method that two of them serve is a mistake. */
export async function collectRoutes(
  {
    config,
    configFile,
    logger,
  }: { readonly config: XchangeConfig; readonly configFile: string; readonly logger: Logger },
  signal: AbortSignal,
): Promise<{ routes: ReadonlyMap<string, Route>; services: readonly Service[]; forwards: readonly HttpForward[] }> {
  const modules = await loadHandlerModules(
    { modules: config.handlers.modules, configFile, bankCode: config.bankCode, logger },
    signal,
  )
  const routes = new Map<string, Route>(modules.routes)
  const forwards: HttpForward[] = []
  for (const target of config.handlers.http) {
    const { methods, repeatable, url, caFile, maxConnections, connectTimeoutMs, maxResponseBytes } = target
    const tls = caFile === undefined ? {} : { tls: { ca: readFileSync(caFile, 'utf8') } }
    const fspiop = loadFspiop(target.fspiop)
    const forward = new HttpForward({ url, maxConnections, connectTimeoutMs, maxResponseBytes, fspiop, ...tls })
    forwards.push(forward)
    for (const method of repeatable) {
      if (!methods.includes(method))
        throw new LsxError('BAD_REQUEST', `handlers.http: repeatable names ${method}, which is not among its methods`, {
          party: 'self',
        })
    }
    for (const method of methods) {
      if (routes.has(method)) throw new LsxError('BAD_REQUEST', `method ${method} is served twice`, { party: 'self' })
      routes.set(method, forward.route(method, { repeatable: repeatable.includes(method) }))
    }
  }
  return { routes, services: [modules, ...forwards], forwards }
}

function loadFspiop(config: XchangeConfig['handlers']['http'][number]['fspiop']): HttpForwardOptions['fspiop'] {
  if (config === undefined) return undefined
  const { source, destination, keyFile, algorithm } = config
  return { key: loadSigningKey(keyFile, { party: source, algorithm }), destination }
}
