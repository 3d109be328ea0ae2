export { type Clock, sleep, systemClock, type TimerHandle } from './clock.ts'
export { ERROR_CODES, ERROR_TABLE, type ErrorCode, isErrorCode, LsxError, type Party, toLsxError } from './errors.ts'
export { type Service, ServiceGroup } from './lifecycle.ts'
export { createLogger, describeError, type Logger, type LogLevel, silentLogger } from './logger.ts'
