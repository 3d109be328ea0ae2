import { z } from 'zod'
import { fields, loadConfig } from '../config/index.ts'
import { keysField } from '../keys/index.ts'
import { bankSigningField, partyField, signingFields } from '../message/jws/index.ts'
import { EVIDENCE_KINDS } from './quarantine-rules.ts'

const DAY_MS = 86_400_000

const earlyPolicy = z.enum(['queue', 'reject'])

const quarantineRule = z.strictObject({
  kind: z.enum(EVIDENCE_KINDS),
  count: fields.countField(1, 1_000),
  windowMs: fields.durationMsField(1_000, 86_400_000),
})

/** An honest bank does none of these; a few are allowed for what nobody thought of. */
const DEFAULT_QUARANTINE_RULES: z.output<typeof quarantineRule>[] = [
  { kind: 'bad-signature', count: 5, windowMs: 600_000 },
  { kind: 'bad-tag', count: 3, windowMs: 600_000 },
  { kind: 'session-mixup', count: 5, windowMs: 600_000 },
  { kind: 'bad-fulfilment', count: 5, windowMs: 600_000 },
]

const bankSchema = (baseDir: string) =>
  z
    .strictObject({
      code: fields.bankCodeField,
      name: z.string().max(100).default(''),
      dial: z.enum(['ls', 'xchange']).default('ls'),
      host: fields.hostField.optional(),
      port: fields.portField.optional(),
      allow: fields.addressesField,
      identities: z.array(fields.identityPinField(baseDir)).min(1).max(8),
      early: earlyPolicy.optional(),
      durable: z.boolean().optional(),
      signing: bankSigningField.optional(),
      ilpSecretFile: fields.pathField(baseDir).optional(),
    })
    .refine((bank) => bank.dial === 'xchange' || (bank.host !== undefined && bank.port !== undefined), {
      message: 'a bank that LS dials needs host and port',
      path: ['host'],
    })

const lsSchema = (baseDir: string) =>
  z.strictObject({
    runtimeDir: fields.pathField(baseDir),
    storeDir: fields.pathField(baseDir),
    storeKeyFile: fields.pathField(baseDir).optional(),
    logLevel: fields.logLevelField.default('info'),
    trustDomain: fields.trustDomainField,
    security: fields.securityField,
    tls: fields.tlsField(baseDir),
    identityKeyFile: fields.pathField(baseDir),
    signing: z.strictObject({ party: partyField.default('ls'), ...signingFields(baseDir) }).optional(),
    listen: z.strictObject({
      host: fields.hostField.default('127.0.0.1'),
      port: fields.portField,
      allow: fields.addressesField.default([]),
      maxConnections: fields.countField(1, 65_536).default(4_096),
    }),
    apps: fields.section({
      maxConnections: fields.countField(1, 65_536).default(256),
      maxMessageBytes: fields.countField(1_024, 16_777_216).default(2_097_152),
      maxPending: fields.countField(1, 1_048_576).default(65_536),
    }),
    requests: fields.section({
      early: earlyPolicy.default('queue'),
      maxQueued: fields.countField(0, 1_048_576).default(10_000),
      maxQueuedBytes: fields.countField(0, 1_073_741_824).default(67_108_864),
    }),
    durable: fields.section({
      default: z.boolean().default(false),
      keepSettledMs: fields.durationMsField(1_000).default(86_400_000),
      maxRecords: fields.countField(1, 100_000_000).default(1_000_000),
      maxBytes: fields.countField(1_048_576, 1_099_511_627_776).default(4_294_967_296),
      minFreeBytes: fields.countField(0, 1_099_511_627_776).default(67_108_864),
      commitTimeoutMs: fields.durationMsField(100, 600_000).default(5_000),
    }),
    ilp: fields.section({
      methods: fields.methodsField,
      version: z.union([z.literal(1), z.literal(4)]).default(4),
      expiryMs: fields.durationMsField(100, 86_400_000).default(30_000),
      clockSkewMs: fields.durationMsField(0, 600_000).default(5_000),
    }),
    evidence: fields.section({
      keep: z.enum(['none', 'durable', 'all']).default('none'),
      keepMs: fields.durationMsField(1_000, 10 * 366 * DAY_MS).default(90 * DAY_MS),
      maxRecords: fields.countField(1, 1_000_000_000).default(10_000_000),
      maxBytes: fields.countField(1_048_576, 1_099_511_627_776).default(17_179_869_184),
      maxWaiting: fields.countField(1, 1_000_000).default(16_384),
    }),
    frames: fields.section({ maxFrameBytes: fields.maxFrameBytesField }),
    kx: fields.section({
      timeoutMs: fields.durationMsField(100, 60_000).default(5_000),
      retryMs: fields.durationMsField(100).default(30_000),
      channelBinding: z.boolean().default(true),
    }),
    keys: keysField,
    tokens: fields.section({
      session: fields.sessionTokenModeField,
      lifetimeMs: fields.durationMsField(1_000, 86_400_000).default(3_600_000),
      requestLifetimeMs: fields.durationMsField(1_000, 86_400_000).default(300_000),
      clockToleranceMs: fields.durationMsField(0, 60_000).default(5_000),
      rotateKeyEveryMs: fields.durationMsField(60_000).default(86_400_000),
      methods: fields.tokenMethodsField,
    }),
    rekey: fields.section({
      afterMs: fields.durationMsField(1_000, 7_000_000).default(3_600_000),
      afterFrames: fields.countField(2, 16_000_000).default(1_048_576),
      afterBytes: fields.countField(1_024, Number.MAX_SAFE_INTEGER).default(1_073_741_824),
    }),
    echo: fields
      .section({
        intervalMs: fields.durationMsField(50, 3_600_000).default(10_000),
        timeoutMs: fields.durationMsField(25, 3_600_000).optional(),
      })
      // The next echo ends the wait for the last one: a longer time-out would not be what it says.
      .refine((echo) => (echo.timeoutMs ?? 0) <= echo.intervalMs, {
        message: 'must not be longer than intervalMs',
        path: ['timeoutMs'],
      }),
    health: fields.section({ intervalMs: fields.durationMsField(0, 86_400_000).default(60_000) }),
    reconnect: fields.section({
      minDelayMs: fields.durationMsField(1, 60_000).default(100),
      maxDelayMs: fields.durationMsField(1, 3_600_000).default(30_000),
      stableAfterMs: fields.durationMsField(0).default(60_000),
      promptForMs: fields.durationMsField(0, 600_000).default(15_000),
      dialTimeoutMs: fields.durationMsField(100, 120_000).default(10_000),
      maxConcurrentDials: fields.countField(1, 4_096).default(64),
    }),
    start: fields.section({ readyWithinMs: fields.durationMsField(0, 600_000).default(10_000) }),
    audit: fields.auditField(baseDir),
    quarantine: fields.section({ rules: z.array(quarantineRule).max(20).default(DEFAULT_QUARANTINE_RULES) }),
    drain: fields.section({ timeoutMs: fields.durationMsField(0, 600_000).default(10_000) }),
    uptimeLog: fields.section({
      dir: fields.pathField(baseDir).optional(),
      maxFileBytes: fields.countField(65_536, 1_073_741_824).default(10_485_760),
      keepFiles: fields.countField(1, 1_000).default(14),
    }),
    banks: z
      .array(bankSchema(baseDir))
      .max(100_000)
      .superRefine((banks, context) => {
        const seen = new Set<string>()
        banks.forEach((bank, index) => {
          if (seen.has(bank.code))
            context.addIssue({ code: 'custom', path: [index, 'code'], message: `bank ${bank.code} is listed twice` })
          seen.add(bank.code)
        })
      }),
  })

export type LsConfig = z.output<ReturnType<typeof lsSchema>>
export type BankConfig = LsConfig['banks'][number]

/** @throws LsxError BAD_REQUEST naming every problem of the file with its path */
export function loadLsConfig(file: string, env: Readonly<Record<string, string | undefined>>): LsConfig {
  return loadConfig(file, lsSchema, env)
}
