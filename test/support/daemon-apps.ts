import { join } from 'node:path'
import { connect, type LsClient } from '../../lib/ipc/index.ts'
import type { BankStatus } from '../../lib/ls/index.ts'
import type { TestDaemon, TestLs } from './daemon-types.ts'
import type { LogCapture } from './log-capture.ts'

/** The connections of a test to one LS. */
export class Apps {
  readonly #appSocket: string
  readonly #adminSocket: string
  readonly #clients: LsClient[] = []

  constructor(runtimeDir: string) {
    this.#appSocket = join(runtimeDir, 'ls.sock')
    this.#adminSocket = join(runtimeDir, 'ls-admin.sock')
  }

  operations(log: LogCapture): Omit<TestLs, keyof TestDaemon> {
    const admin = async (op: string, fields: Record<string, unknown> = {}) => {
      const client = await connect(this.#adminSocket)
      try {
        return await client.call(op, fields)
      } finally {
        await client.close()
      }
    }
    return {
      appSocket: this.#appSocket,
      adminSocket: this.#adminSocket,
      ask: async (options) => {
        const client = await connect(this.#appSocket)
        try {
          return await client.request(options)
        } finally {
          await client.close()
        }
      },
      connectApp: async () => {
        const client = await connect(this.#appSocket)
        this.#clients.push(client)
        return client
      },
      admin,
      bankStatus: async (bank) => {
        const { banks } = (await admin('status', { bank })) as { banks: BankStatus[] }
        return banks[0] as BankStatus
      },
      connected: async (bankCode, mark = 0) => {
        await log.until({ bankCode, msg: 'channel connected' }, { mark })
      },
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#clients.splice(0).map((client) => client.close()))
  }
}
