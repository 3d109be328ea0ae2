/**
 * A bank in memory, and an example of a handler module: accounts in NGN, amounts as integers in minor units (kobo).
 * The methods:
 *
 *   balance   {account}                                        -> {account, currency, balanceMinor}
 *   transfer  {from, to, amountMinor, currency, reference?}    -> {transferId, from, to, amountMinor, currency, balanceMinor}
 *   statement {account, limit?}                                -> {account, currency, entries: newest first}
 *   echo      anything                                         -> the same
 *   slow      {ms}                                             -> {sleptMs}
 *   fail      {code?}                                          -> never; fails with that code
 */
import {
  defineHandlers,
  type HandlerContext,
  HandlerError,
  type HandlerModule,
  type HandlerModuleOptions,
} from '../lib/xchange/handler.ts'

const CURRENCY = 'NGN'
const OPENING_BALANCES: Readonly<Record<string, number>> = {
  '0123456789': 100_000_000,
  '9876543210': 50_000_000,
  '5555500000': 0,
}
const MAX_ENTRIES_KEPT = 1_000
const DEFAULT_STATEMENT_LIMIT = 10
const MAX_STATEMENT_LIMIT = 100
const MAX_SLOW_MS = 60_000

interface Entry {
  readonly transferId: string
  readonly atMs: number
  /** Negative where money left the account. */
  readonly amountMinor: number
  readonly balanceMinor: number
  readonly counterparty: string
  readonly reference: string | undefined
}

interface Account {
  readonly number: string
  balanceMinor: number
  readonly entries: Entry[]
}

export default function demoExchange(options: Pick<HandlerModuleOptions, 'bankCode'>): HandlerModule {
  const accounts = new Map<string, Account>()
  for (const [number, balanceMinor] of Object.entries(OPENING_BALANCES)) {
    accounts.set(number, { number, balanceMinor, entries: [] })
  }
  const sleepers = new Set<() => void>()

  function accountNamed(fields: Fields, field: string): Account {
    const account = accounts.get(fields.text(field))
    if (account === undefined) throw new HandlerError('ACCOUNT_UNKNOWN', 'no such account', { field })
    return account
  }

  return defineHandlers({
    // What `slow` takes depends on what it is asked for.
    expectedMs: { slow: 0 },
    // They change nothing: a crash may make one run twice.
    repeatable: ['balance', 'statement'],
    methods: {
      balance(payload) {
        const account = accountNamed(new Fields(payload), 'account')
        return { account: account.number, currency: CURRENCY, balanceMinor: account.balanceMinor }
      },

      transfer(payload, context) {
        const fields = new Fields(payload)
        const from = accountNamed(fields, 'from')
        const to = accountNamed(fields, 'to')
        const amountMinor = fields.integer('amountMinor', { from: 1, to: Number.MAX_SAFE_INTEGER })
        if (fields.text('currency') !== CURRENCY) {
          throw new HandlerError('CURRENCY_UNSUPPORTED', `accounts are in ${CURRENCY}`)
        }
        const reference = fields.optionalText('reference')
        checkPacket(context, amountMinor)
        if (from === to) throw new HandlerError('BAD_REQUEST', 'from and to are the same account')
        if (from.balanceMinor < amountMinor) throw new HandlerError('FUNDS_INSUFFICIENT', 'the balance is too low')
        if (to.balanceMinor > Number.MAX_SAFE_INTEGER - amountMinor) {
          throw new HandlerError('AMOUNT_TOO_LARGE', 'the balance would be too large')
        }
        // The idempotency key names the transfer: it is the one thing that a repetition has in common with it.
        const transferId = `${options.bankCode}-${context.key}`
        book(from, to, -amountMinor, { transferId, reference, context })
        book(to, from, amountMinor, { transferId, reference, context })
        return {
          transferId,
          from: from.number,
          to: to.number,
          amountMinor,
          currency: CURRENCY,
          balanceMinor: from.balanceMinor,
        }
      },

      statement(payload) {
        const fields = new Fields(payload)
        const account = accountNamed(fields, 'account')
        const limit = fields.optionalInteger('limit', { from: 1, to: MAX_STATEMENT_LIMIT }) ?? DEFAULT_STATEMENT_LIMIT
        return { account: account.number, currency: CURRENCY, entries: account.entries.slice(-limit).reverse() }
      },

      /** Changes nothing: for `lsctl bench`. */
      echo(payload) {
        return payload
      },

      /** Sleeps on after its budget, as a core banking system would: its answer then comes late. */
      slow(payload) {
        const sleptMs = new Fields(payload).integer('ms', { from: 0, to: MAX_SLOW_MS })
        return new Promise((resolve, reject) => {
          const wake = () => {
            clearTimeout(timer)
            reject(new Error('the demo exchange stopped'))
          }
          const timer = setTimeout(() => {
            sleepers.delete(wake)
            resolve({ sleptMs })
          }, sleptMs)
          sleepers.add(wake)
        })
      },

      fail(payload) {
        throw new HandlerError(new Fields(payload).optionalText('code') ?? 'DEMO_FAILURE', 'failed as asked')
      },
    },

    async stop() {
      for (const wake of sleepers) wake()
      sleepers.clear()
    },
  })
}

/** The fulfilment would prove the packet's amount: it must be the one that is moved. 0 where nobody has named one. */
function checkPacket({ ilp }: Pick<HandlerContext, 'ilp'>, amountMinor: number): void {
  if (ilp === undefined || ilp.amount === 0n || ilp.amount === BigInt(amountMinor)) return
  throw new HandlerError('AMOUNT_MISMATCH', 'the ILP packet is of another amount')
}

function book(
  account: Account,
  counterparty: Account,
  amountMinor: number,
  transfer: { transferId: string; reference: string | undefined; context: HandlerContext },
): void {
  account.balanceMinor += amountMinor
  account.entries.push({
    transferId: transfer.transferId,
    atMs: transfer.context.nowMs(),
    amountMinor,
    balanceMinor: account.balanceMinor,
    counterparty: counterparty.number,
    reference: transfer.reference,
  })
  if (account.entries.length > MAX_ENTRIES_KEPT) account.entries.shift()
}

/** Reads what an app sent; each problem is answered with BAD_REQUEST and the name of the field. */
class Fields {
  readonly #fields: Readonly<Record<string, unknown>>

  constructor(payload: unknown) {
    if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) {
      throw new HandlerError('BAD_REQUEST', 'the payload must be an object')
    }
    this.#fields = { ...payload }
  }

  text(field: string): string {
    const value = this.optionalText(field)
    if (value === undefined) throw new HandlerError('BAD_REQUEST', `${field} is missing`, { field })
    return value
  }

  optionalText(field: string): string | undefined {
    const value = this.#fields[field] ?? undefined
    if (value === undefined) return undefined
    if (typeof value !== 'string' || value === '' || value.length > 140) {
      throw new HandlerError('BAD_REQUEST', `${field} must be text of 1 to 140 characters`, { field })
    }
    return value
  }

  integer(field: string, range: { from: number; to: number }): number {
    const value = this.optionalInteger(field, range)
    if (value === undefined) throw new HandlerError('BAD_REQUEST', `${field} is missing`, { field })
    return value
  }

  optionalInteger(field: string, range: { from: number; to: number }): number | undefined {
    const value = this.#fields[field] ?? undefined
    if (value === undefined) return undefined
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < range.from || value > range.to) {
      throw new HandlerError('BAD_REQUEST', `${field} must be an integer from ${range.from} to ${range.to}`, { field })
    }
    return value
  }
}
