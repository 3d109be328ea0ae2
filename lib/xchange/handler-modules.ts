import { stat } from 'node:fs/promises'
import { dirname, extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isMethod } from '../frames/index.ts'
import { describeError, type Logger, LsxError, type Service } from '../runtime/index.ts'
import type { HandlerModule, HandlerModuleOptions } from './handler.ts'
import type { Route } from './route.ts'

export interface HandlerModulesConfig {
  /** Compiled modules: absolute, or relative to the configuration file's directory. */
  readonly modules: readonly string[]
  readonly configFile: string
  readonly bankCode: string
  readonly logger: Logger
}

interface LoadedModule {
  readonly file: string
  readonly module: HandlerModule
}

/** The bank's own modules, and the routes that they serve. */
export class HandlerModules implements Service {
  readonly name = 'handler-modules'
  readonly routes: ReadonlyMap<string, Route>
  readonly #loaded: readonly LoadedModule[]
  readonly #started: LoadedModule[] = []
  readonly #options: HandlerModuleOptions
  readonly #logger: Logger

  constructor(loaded: readonly LoadedModule[], options: { bankCode: string; logger: Logger }) {
    this.routes = routesOf(loaded)
    this.#loaded = loaded
    this.#logger = options.logger
    this.#options = { bankCode: options.bankCode, log: options.logger }
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const loaded of this.#loaded) {
      try {
        await untilAborted(async () => loaded.module.start?.(this.#options), signal)
        this.#started.push(loaded)
      } catch (error) {
        await this.stop(signal)
        throw unusable(loaded.file, 'its start failed', error)
      }
    }
  }

  async stop(signal: AbortSignal): Promise<void> {
    for (let loaded = this.#started.pop(); loaded !== undefined; loaded = this.#started.pop()) {
      const { file, module } = loaded
      try {
        await untilAborted(async () => module.stop?.(), signal)
      } catch (error) {
        this.#logger.error({ file, error: describeError(error) }, 'a handler module did not stop cleanly')
      }
    }
  }
}

/**
 * Imports the modules and checks their shape; runs none of their `start`.
 *
 * @throws LsxError REFUSED, party self, naming the file and what is wrong with it
 */
export async function loadHandlerModules(config: HandlerModulesConfig, signal: AbortSignal): Promise<HandlerModules> {
  const { bankCode, logger } = config
  const loaded: LoadedModule[] = []
  for (const named of config.modules) {
    const file = resolve(dirname(config.configFile), named)
    await checkFile(file)
    const exported = await untilAborted(() => importDefault(file), signal).catch((error: unknown) => {
      throw unusable(file, 'it cannot be imported', error)
    })
    const made = await untilAborted(
      async () => (typeof exported === 'function' ? exported({ bankCode, log: logger }) : exported),
      signal,
    ).catch((error: unknown) => {
      throw unusable(file, 'the function that it exports failed', error)
    })
    loaded.push({ file, module: checkedModule(file, made) })
  }
  return new HandlerModules(loaded, { bankCode, logger })
}

async function checkFile(file: string): Promise<void> {
  const found = await stat(file).catch((error: unknown) => {
    throw unusable(file, 'the file cannot be read; a relative path begins at the configuration file', error)
  })
  if (!found.isFile()) throw unusable(file, 'it is not a file')
  if (['.ts', '.mts', '.cts'].includes(extname(file))) {
    throw unusable(file, 'it is TypeScript; compile it and name the JavaScript file')
  }
}

async function importDefault(file: string): Promise<unknown> {
  const namespace: unknown = await import(pathToFileURL(file).href)
  return typeof namespace === 'object' && namespace !== null ? Reflect.get(namespace, 'default') : undefined
}

const OPTIONAL_FUNCTIONS = ['inquire', 'start', 'stop'] as const

function checkedModule(file: string, made: unknown): HandlerModule {
  if (!isRecord(made)) {
    throw unusable(file, 'its default export must be a handler module, or a function that returns one')
  }
  const { methods, expectedMs, repeatable } = made
  if (!isRecord(methods) || Object.keys(methods).length === 0) {
    throw unusable(file, '"methods" must be an object with at least one handler')
  }
  for (const [method, handler] of Object.entries(methods)) {
    if (!isMethod(method)) {
      throw unusable(file, `"${method}" is no method name (1-64 characters of A-Z a-z 0-9 . _ : / -)`)
    }
    if (typeof handler !== 'function') throw unusable(file, `the handler of "${method}" is not a function`)
  }
  for (const name of OPTIONAL_FUNCTIONS) {
    if (made[name] !== undefined && typeof made[name] !== 'function') {
      throw unusable(file, `"${name}" is not a function`)
    }
  }
  if (expectedMs !== undefined) checkExpectedMs(file, expectedMs, methods)
  if (repeatable !== undefined) checkRepeatable(file, repeatable, methods)
  return made as unknown as HandlerModule
}

function checkExpectedMs(file: string, expectedMs: unknown, methods: Record<string, unknown>): void {
  if (!isRecord(expectedMs)) throw unusable(file, '"expectedMs" must be an object')
  for (const [method, durationMs] of Object.entries(expectedMs)) {
    if (!Object.hasOwn(methods, method)) throw unusable(file, `"expectedMs" names "${method}", which has no handler`)
    if (typeof durationMs !== 'number' || !Number.isFinite(durationMs) || durationMs < 0) {
      throw unusable(file, `"expectedMs" of "${method}" must be a number of milliseconds`)
    }
  }
}

function checkRepeatable(file: string, repeatable: unknown, methods: Record<string, unknown>): void {
  if (!Array.isArray(repeatable)) throw unusable(file, '"repeatable" must be an array of method names')
  for (const method of repeatable) {
    if (typeof method !== 'string' || !Object.hasOwn(methods, method))
      throw unusable(file, `"repeatable" names "${String(method)}", which has no handler`)
  }
}

function routesOf(loaded: readonly LoadedModule[]): ReadonlyMap<string, Route> {
  const routes = new Map<string, Route>()
  const servedBy = new Map<string, string>()
  for (const { file, module } of loaded) {
    // A module may be an instance of a class: its functions keep their `this`.
    const inquire = module.inquire === undefined ? undefined : (key: string) => inquireOf(module, key)
    for (const [method, handler] of Object.entries(module.methods)) {
      const other = servedBy.get(method)
      if (other !== undefined) throw unusable(file, `"${method}" is served by ${other} already`)
      servedBy.set(method, file)
      routes.set(method, {
        handler: handler.bind(module.methods),
        inquire,
        expectedMs: module.expectedMs?.[method],
        repeatable: module.repeatable?.includes(method) ?? false,
      })
    }
  }
  return routes
}

async function inquireOf(module: HandlerModule, key: string) {
  return module.inquire?.(key)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A module's promise cannot be cancelled, only no longer waited for. */
function untilAborted<T>(begin: () => Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    begin()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort))
  })
}

function unusable(file: string, reason: string, cause?: unknown): LsxError {
  const detail = cause instanceof Error ? `: ${cause.message}` : ''
  return new LsxError('REFUSED', `the handler module ${file} cannot be used: ${reason}${detail}`, {
    party: 'self',
    cause,
    facts: { file },
  })
}
