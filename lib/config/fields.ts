import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { z } from 'zod'

/** Fields that both daemons' configurations are made of. Each bound is a decision: see docs/OPERATIONS.md. */

const DAY_MS = 86_400_000

export const bankCodeField = z.string().regex(/^[A-Za-z0-9._-]{1,32}$/, 'a bank code is 1 to 32 of A-Z a-z 0-9 . _ -')
export const durationMsField = (minMs: number, maxMs: number = 30 * DAY_MS) => z.int().min(minMs).max(maxMs)
export const countField = (min: number, max: number) => z.int().min(min).max(max)
/** Names of methods; of none by default. */
export const methodsField = z
  .array(z.string().regex(/^[A-Za-z0-9._:/-]{1,64}$/, 'a method is 1 to 64 of A-Z a-z 0-9 . _ : / -'))
  .max(1_000)
  .default([])
export const portField = z.int().min(0).max(65_535)
export const hostField = z.string().min(1).max(253)
export const logLevelField = z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
export const trustDomainField = z
  .string()
  .regex(/^[a-z0-9.-]{1,255}$/, 'a trust domain is lower-case letters, digits, dots and dashes')
export const addressesField = z
  .array(z.string().refine(isAddressOrRange, 'neither an IP address nor a CIDR range'))
  .max(10_000)

/** A path; a relative one belongs to the folder of the configuration file. */
export const pathField = (baseDir: string) =>
  z
    .string()
    .min(1)
    .transform((path) => resolve(baseDir, path))

/** A pinned identity: `ed25519:<base64>`, or the path of a .pub file. */
export const identityPinField = (baseDir: string) =>
  z
    .string()
    .min(1)
    .transform((pin) => (pin.startsWith('ed25519:') ? pin : resolve(baseDir, pin)))

export const tlsField = (baseDir: string) =>
  z.strictObject({ keyFile: pathField(baseDir), certFile: pathField(baseDir), caFile: pathField(baseDir) })

/** A section whose every option has a default may be left out whole. */
export function section<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape).prefault({} as never)
}

/** Methods that ask for a token, and the scope that it must give. */
export const tokenMethodsField = z
  .record(
    z.string().regex(/^[A-Za-z0-9._:/-]{1,64}$/, 'not a method'),
    z.strictObject({
      scope: z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,64}$/, 'a scope is one word of 1 to 64 characters'),
      singleUse: z.boolean().default(false),
    }),
  )
  .default({})

export const sessionTokenModeField = z.enum(['off', 'offered', 'required']).default('offered')

/** The audit log of either daemon. */
export const auditField = (baseDir: string) =>
  section({
    dir: pathField(baseDir).optional(),
    checkpointEvery: countField(1, 10_000).default(64),
    checkpointAfterMs: durationMsField(100, 3_600_000).default(60_000),
    rotateBytes: countField(65_536, 268_435_456).default(16_777_216),
    maxBuffered: countField(16, 1_048_576).default(4_096),
  })

/** How much of the rules holds. `permissive` is for debugging, and must be asked for where the daemon is started, too. */
export const securityField = section({ mode: z.enum(['strict', 'permissive']).default('strict') })

export const maxFrameBytesField = countField(1_024, 1_048_576).default(65_536)

function isAddressOrRange(text: string): boolean {
  const [address = '', bits, ...more] = text.split('/')
  const family = isIP(address)
  if (family === 0 || more.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}
