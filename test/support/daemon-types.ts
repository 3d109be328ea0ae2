import type { LsClient, Reply, RequestOptions } from '../../lib/ipc/index.ts'
import type { BankStatus } from '../../lib/ls/index.ts'
import type { LogCapture } from './log-capture.ts'
import type { CountingClock } from './open-handles.ts'
import type { TestNode } from './pki.ts'

/** Part of a configuration, laid over what the test bed writes; arrays replace. */
export type Overrides = { readonly [option: string]: unknown }

export interface TestBank {
  readonly code: string
  readonly dial: 'ls' | 'xchange'
  /** `startAll` starts no xchange for it: a test plays it. */
  readonly isFake?: boolean
}

export interface StartOptions {
  readonly config?: Overrides
  /** Certificate and identity, where not the party's own. */
  readonly node?: TestNode
  /** Directory of its store and sockets below the bed's; the same again after a restart. Default `ls`, or the bank code. */
  readonly name?: string
  /** As `--permissive-i-know`; the configuration must ask for it too. */
  readonly permissive?: boolean
}

export interface LsStartOptions extends StartOptions {
  /** Where each bank that LS dials is to be found. Default: where this bed started it last. */
  readonly ports?: Readonly<Record<string, number>>
  /** Laid over a bank's part of the configuration, by bank code. */
  readonly banks?: Readonly<Record<string, Overrides>>
}

export interface XchangeStartOptions extends StartOptions {
  /** Port to listen on (dial: ls; default any) or of LS (dial: xchange; default where this bed started it last). */
  readonly port?: number
  readonly dial?: 'ls' | 'xchange'
}

export interface ProcessOptions {
  /** Before the program: `--tls-keylog=FILE` and the like. */
  readonly nodeArguments?: readonly string[]
}

/** What both forms of a running daemon have. */
export interface TestDaemon {
  readonly log: LogCapture
  readonly port: number
  /** The configuration file that was written for it. */
  readonly configFile: string
  /** Drains and stops. Safe to call twice. */
  stop(): Promise<void>
}

export interface TestLs extends TestDaemon {
  readonly appSocket: string
  readonly adminSocket: string
  /** One request over a connection of its own. */
  ask(options: RequestOptions): Promise<Reply>
  /** An app's connection, closed with the bed. */
  connectApp(): Promise<LsClient>
  admin(op: string, fields?: Record<string, unknown>): Promise<unknown>
  bankStatus(bankCode: string): Promise<BankStatus>
  /** Resolves at the next `channel connected` of this bank, or one behind `mark`. */
  connected(bankCode: string, mark?: number): Promise<void>
}

/** A daemon in this process. */
export interface InProcess {
  readonly clock: CountingClock
  reload(): Promise<unknown>
}

/** A daemon in a process of its own. */
export interface OwnProcess {
  readonly pid: number
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
  signal(name: NodeJS.Signals): void
  /** The exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>
}
