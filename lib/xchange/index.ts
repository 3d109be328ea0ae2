export { loadXchangeConfig, type XchangeConfig } from './config.ts'
export { XchangeDaemon, type XchangeDaemonOptions } from './daemon.ts'
export { createDispatcher, type Dispatcher, type DispatcherOptions } from './dispatcher.ts'
export { type DurableOnceOnlyOptions, DurableOnceOnlyTable, type LookupResult } from './durable-once-only.ts'
export {
  defineHandlers,
  type Handler,
  type HandlerContext,
  HandlerError,
  type HandlerModule,
  type HandlerModuleFactory,
  type HandlerModuleOptions,
  InDoubtError,
  type InquiryAnswer,
  NotReachedError,
} from './handler.ts'
export { HandlerModules, type HandlerModulesConfig, loadHandlerModules } from './handler-modules.ts'
export { HttpForward, type HttpForwardOptions } from './http-forward.ts'
export {
  type BeginResult,
  type KnownKey,
  type MemoryOnceOnlyOptions,
  MemoryOnceOnlyTable,
  type OnceOnlyTable,
  requestDigest,
  type StoredResponse,
} from './once-only.ts'
export { checkXchangeFiles } from './own-files.ts'
export type { Route, Routes } from './route.ts'
