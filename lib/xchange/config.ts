import { z } from 'zod'
import { fields, loadConfig } from '../config/index.ts'
import { keysField } from '../keys/index.ts'
import { FSPIOP_ALGORITHMS } from '../message/fspiop/index.ts'
import { LEAST_RSA_BITS, MIN_RSA_BITS } from '../message/jwe/index.ts'
import { partyField, signingFields } from '../message/jws/index.ts'

const xchangeSchema = (baseDir: string) =>
  z
    .strictObject({
      bankCode: fields.bankCodeField,
      storeDir: fields.pathField(baseDir),
      storeKeyFile: fields.pathField(baseDir).optional(),
      logLevel: fields.logLevelField.default('info'),
      trustDomain: fields.trustDomainField,
      security: fields.securityField,
      tls: fields.tlsField(baseDir),
      identityKeyFile: fields.pathField(baseDir),
      signing: z.strictObject({ lsParty: partyField.default('ls'), ...signingFields(baseDir) }).optional(),
      dial: z.enum(['ls', 'xchange']).default('ls'),
      ls: z.strictObject({
        identities: z.array(fields.identityPinField(baseDir)).min(1).max(8),
        allow: fields.addressesField,
        host: fields.hostField.optional(),
        port: fields.portField.optional(),
      }),
      listen: z
        .strictObject({
          host: fields.hostField.default('127.0.0.1'),
          port: fields.portField,
          maxConnections: fields.countField(1, 65_536).default(64),
        })
        .optional(),
      frames: fields.section({ maxFrameBytes: fields.maxFrameBytesField }),
      kx: fields.section({
        timeoutMs: fields.durationMsField(100, 60_000).default(5_000),
        channelBinding: z.boolean().default(true),
      }),
      keys: keysField,
      tokens: fields.section({
        session: fields.sessionTokenModeField,
        lifetimeMs: fields.durationMsField(1_000, 86_400_000).default(3_600_000),
        maxRequestLifetimeMs: fields.durationMsField(1_000, 86_400_000).default(3_600_000),
        clockToleranceMs: fields.durationMsField(0, 60_000).default(5_000),
        rotateKeyEveryMs: fields.durationMsField(60_000).default(86_400_000),
        maxCached: fields.countField(1, 1_048_576).default(4_096),
        maxSpent: fields.countField(1, 10_000_000).default(100_000),
        methods: fields.tokenMethodsField,
        issuers: z
          .array(
            z.strictObject({
              issuer: z.string().min(1).max(256),
              keysFile: fields.pathField(baseDir),
              algorithms: z
                .array(z.enum(['EdDSA', 'ES256', 'RS256', 'PS256']))
                .min(1)
                .default(['EdDSA']),
              audience: z.string().min(1).max(256).optional(),
              scopes: z.array(z.string().min(1).max(64)).min(1).max(100).optional(),
              maxLifetimeMs: fields.durationMsField(1_000, 86_400_000).default(3_600_000),
              singleUse: z.boolean().default(false),
            }),
          )
          .max(32)
          .default([]),
      }),
      reconnect: fields.section({
        minDelayMs: fields.durationMsField(1, 60_000).default(100),
        maxDelayMs: fields.durationMsField(1, 3_600_000).default(30_000),
        stableAfterMs: fields.durationMsField(0).default(60_000),
        promptForMs: fields.durationMsField(0, 600_000).default(15_000),
        dialTimeoutMs: fields.durationMsField(100, 120_000).default(10_000),
      }),
      requests: fields.section({
        window: fields.countField(1, 65_536).default(1_024),
        maxConcurrent: fields.countField(1, 65_536).default(1_024),
        minBudgetMs: fields.durationMsField(0, 60_000).default(5),
        maxUnreadBytes: fields.countField(65_536, 1_073_741_824).default(16_777_216),
      }),
      onceOnly: fields.section({
        maxEntries: fields.countField(1, 1_000_000_000).default(10_000_000),
        maxBytes: fields.countField(1_048_576, 1_099_511_627_776).default(8_589_934_592),
        keepMs: fields.durationMsField(1_000).default(86_400_000),
      }),
      ilp: fields
        .section({
          methods: fields.methodsField,
          secretFiles: z.array(fields.pathField(baseDir)).max(8).default([]),
          clockSkewMs: fields.durationMsField(0, 600_000).default(5_000),
        })
        .refine((ilp) => ilp.methods.length === 0 || ilp.secretFiles.length > 0, {
          message: 'methods that need a packet need a secret to fulfil it',
          path: ['secretFiles'],
        }),
      sealing: fields
        .section({
          keyFiles: z.array(fields.pathField(baseDir)).max(8).default([]),
          requiredMethods: fields.methodsField,
          minRsaBits: fields.countField(LEAST_RSA_BITS, 8_192).default(MIN_RSA_BITS),
          maxAgeMs: fields.durationMsField(1_000, 86_400_000).default(3_600_000),
        })
        .refine((sealing) => sealing.requiredMethods.length === 0 || sealing.keyFiles.length > 0, {
          message: 'methods that need a sealed payload need a key to open it',
          path: ['keyFiles'],
        }),
      handlers: z.strictObject({
        modules: z.array(fields.pathField(baseDir)).max(100).default([]),
        http: z
          .array(
            z.strictObject({
              methods: z.array(z.string().min(1).max(64)).min(1).max(1_000),
              repeatable: z.array(z.string().min(1).max(64)).max(1_000).default([]),
              url: z.url(),
              caFile: fields.pathField(baseDir).optional(),
              maxConnections: fields.countField(1, 10_000).default(64),
              connectTimeoutMs: fields.durationMsField(10, 60_000).default(2_000),
              maxResponseBytes: fields.countField(1_024, 1_048_576).default(262_144),
              fspiop: z
                .strictObject({
                  source: z.string().min(1).max(32),
                  destination: z.string().min(1).max(32).optional(),
                  keyFile: fields.pathField(baseDir),
                  algorithm: z.enum(FSPIOP_ALGORITHMS).default('RS256'),
                })
                .optional(),
            }),
          )
          .max(100)
          .default([]),
      }),
      audit: fields.auditField(baseDir),
      drain: fields.section({ timeoutMs: fields.durationMsField(0, 600_000).default(10_000) }),
    })
    .refine((config) => config.dial === 'xchange' || config.listen !== undefined, {
      message: 'a node that LS dials must listen',
      path: ['listen'],
    })
    .refine((config) => config.dial === 'ls' || (config.ls.host !== undefined && config.ls.port !== undefined), {
      message: 'a node that dials LS needs the host and port of LS',
      path: ['ls', 'host'],
    })
    .refine((config) => config.sealing.keyFiles.length === 0 || config.sealing.maxAgeMs <= config.onceOnly.keepMs, {
      message: 'what was sealed before the oldest key that onceOnly.keepMs remembers could be run twice',
      path: ['sealing', 'maxAgeMs'],
    })
    .refine((config) => config.handlers.modules.length + config.handlers.http.length > 0, {
      message: 'name at least one module or http target, or nothing can be answered',
      path: ['handlers'],
    })

export type XchangeConfig = z.output<ReturnType<typeof xchangeSchema>>

/** @throws LsxError BAD_REQUEST naming every problem of the file with its path */
export function loadXchangeConfig(file: string, env: Readonly<Record<string, string | undefined>>): XchangeConfig {
  return loadConfig(file, xchangeSchema, env)
}
