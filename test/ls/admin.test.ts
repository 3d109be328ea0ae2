import t from 'tap'
import type { Message } from '../../lib/ipc/index.ts'
import { AdminHandler, type DaemonControl } from '../../lib/ls/admin.ts'
import { LsxError } from '../../lib/runtime/index.ts'
import { KX_MS, SwitchHarness, type SwitchOptions, TestConnection } from './switch-harness.ts'

/** The operators' socket of a harness, with a daemon that only remembers what it was told. */
class AdminHarness extends SwitchHarness {
  readonly operator = new TestConnection(9)
  readonly admin: AdminHandler
  drains = 0
  reload: () => Promise<Record<string, unknown>> = async () => ({ reloaded: true, added: [], changed: [], removed: [] })
  #calls = 0

  constructor(options: SwitchOptions = {}) {
    super(options)
    const control: DaemonControl = {
      status: () => ({ version: '1.2.3', phase: 'ready' }),
      keys: {
        status: () => [],
        rotate: async () => [],
        rotateTokenKey: () => ({ keyId: this.context.tokenKeys.rotate().kid }),
      },
      security: () => ({ ok: true }) as never,
      drain: () => {
        this.drains++
      },
      reload: () => this.reload(),
    }
    this.admin = new AdminHandler(this.context, this.registry, control)
  }

  /** The one answer to an operation, without its id. */
  async call(op: string, options: Message = {}, operator: TestConnection = this.operator): Promise<Message> {
    const id = ++this.#calls
    this.admin.onMessage(operator, { op, id, ...options })
    for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
    const answers = operator.replies.filter((reply) => reply.id === id && reply.event === undefined)
    if (answers.length !== 1) throw new Error(`${answers.length} answers to ${op}`)
    const { id: _, ...answer } = answers[0] ?? {}
    return answer
  }

  events(id: unknown, operator: TestConnection = this.operator): Message[] {
    return operator.replies.filter((reply) => reply.id === id && reply.event !== undefined)
  }

  auditLines(): unknown[] {
    return this.log.lines.filter((line) => line.facts.audit === true).map((line) => line.facts.op)
  }
}

async function twoBanks(options: SwitchOptions = {}): Promise<AdminHarness> {
  const harness = new AdminHarness(options)
  await harness.apply(harness.bank('044'), harness.bank('058'))
  return harness
}

const refused = (code: string, message?: RegExp) => ({ ok: false, code, ...(message === undefined ? {} : { message }) })

t.test('status: the daemon and all banks, or one', async (t) => {
  const harness = await twoBanks()
  await harness.connect('044')
  t.match(await harness.call('status'), {
    ok: true,
    result: {
      daemon: { version: '1.2.3', phase: 'ready' },
      banks: [
        { bankCode: '044', status: 1 },
        { bankCode: '058', status: 0 },
      ],
    },
  })
  const one = await harness.call('status', { bank: '058' })
  t.match(one, { ok: true, result: { banks: [{ bankCode: '058' }] } })
  t.equal((one.result as { banks: unknown[] }).banks.length, 1)
  t.match(await harness.call('status', { bank: '070' }), refused('UNKNOWN_BANK'))
})

t.test('what is asked for in a wrong way is refused with its path, and nothing is done', async (t) => {
  const harness = await twoBanks()
  await harness.connect('044')
  const wrong: readonly (readonly [string, Message, RegExp])[] = [
    ['status', { bank: 44 }, /^bank: /],
    ['status', { bank: 'no bank!' }, /^bank: /],
    ['status', { verbose: true }, /verbose/],
    ['uptime', { sinceMs: -1 }, /^sinceMs: /],
    ['uptime', { limit: 0 }, /^limit: /],
    ['uptime', { limit: 10_001 }, /^limit: /],
    ['uptime-follow', { since: 1 }, /since/],
    ['rekey', {}, /name a bank, or ask for all/],
    ['rekey', { all: false }, /name a bank, or ask for all/],
    ['rekey', { all: 'yes' }, /^all: /],
    ['drop', {}, /^bank: /],
    ['drop', { bank: '044', all: true }, /all/],
    ['quarantine', { bank: '044' }, /^reason: /],
    ['quarantine', { bank: '044', reason: '' }, /^reason: /],
    ['quarantine', { bank: '044', reason: 'x'.repeat(501) }, /^reason: /],
    ['resume', {}, /^bank: /],
  ]
  for (const [op, options, message] of wrong) {
    t.match(await harness.call(op, options), refused('BAD_REQUEST', message), `${op} ${JSON.stringify(options)}`)
  }
  t.equal(harness.link('044').state.name, 'connected')
  t.equal(harness.link('044').counters.kxStarted, 1)
  t.equal(harness.drains, 0)
})

t.test('several mistakes are told at once', async (t) => {
  const harness = await twoBanks()
  const { message } = await harness.call('quarantine', { bank: '', reason: '' })
  t.match(message, /bank: .*; reason: /)
})

t.test('an unknown op is refused by name of those that there are, also where objects have such a name', async (t) => {
  const harness = await twoBanks()
  for (const op of ['request', 'statuss', 'constructor', '__proto__', 'hasOwnProperty', '']) {
    t.throws(() => harness.admin.onMessage(harness.operator, { op, id: 1 }), {
      code: 'BAD_REQUEST',
      message: /quarantine/,
    })
  }
  t.strictSame(harness.operator.replies, [])
})

t.test('rekey: one bank, or all that are connected', async (t) => {
  const harness = await twoBanks()
  await harness.connect('044')
  t.strictSame(await harness.call('rekey', { bank: '044' }), {
    ok: true,
    result: { banks: [{ bankCode: '044', ok: true }] },
  })
  await harness.clock.advance(KX_MS)
  t.equal(harness.link('044').session?.epoch, 2)
  t.match(await harness.call('rekey', { bank: '058' }), refused('CHANNEL_DOWN'))
  t.match(await harness.call('rekey', { bank: '070' }), refused('UNKNOWN_BANK'))
  t.match(await harness.call('rekey', { all: true }), {
    ok: true,
    result: {
      banks: [
        { bankCode: '044', ok: true },
        { bankCode: '058', ok: false, code: 'CHANNEL_DOWN' },
      ],
    },
  })
  await harness.clock.advance(KX_MS)
  t.equal(harness.link('044').session?.epoch, 3)
})

t.test('drop: the socket ends, and the link may come back', async (t) => {
  const harness = await twoBanks()
  t.match(await harness.call('drop', { bank: '044' }), refused('CHANNEL_DOWN'))
  await harness.connect('044')
  t.match(await harness.call('drop', { bank: '044' }), { ok: true })
  t.equal(harness.link('044').state.name, 'idle')
  await harness.reconnect('044')
})

t.test('SEC-12 quarantine and resume: kept in the store, and out of it again', async (t) => {
  const harness = await twoBanks()
  await harness.connect('044')
  t.strictSame(await harness.call('quarantine', { bank: '044', reason: 'ticket 17' }), {
    ok: true,
    result: {
      bankCode: '044',
      state: 'quarantined',
      reason: 'ticket 17',
      sinceMs: harness.clock.nowMs(),
      by: 'ls-admin.sock',
    },
  })
  t.strictSame(harness.quarantines.get('044'), {
    bankCode: '044',
    reason: 'ticket 17',
    sinceMs: harness.clock.nowMs(),
    by: 'ls-admin.sock',
  })
  t.equal(harness.link('044').state.name, 'quarantined')
  t.match(await harness.call('resume', { bank: '058' }), refused('BAD_REQUEST', /not in quarantine/))
  t.strictSame(await harness.call('resume', { bank: '044' }), {
    ok: true,
    result: { bankCode: '044', state: 'idle' },
  })
  t.equal(harness.quarantines.get('044'), undefined)
  t.match(await harness.call('quarantine', { bank: '070', reason: 'x' }), refused('UNKNOWN_BANK'))
})

t.test(
  'SEC-12 a disk that is full does not keep a bank connected: it is cut off first, and the operator is told',
  async (t) => {
    const harness = await twoBanks()
    await harness.connect('044')
    harness.quarantines.failPuts = new LsxError('STORE_FULL', 'the disk is full')
    t.match(await harness.call('quarantine', { bank: '044', reason: 'evidence' }), refused('STORE_FULL'))
    t.equal(harness.link('044').state.name, 'quarantined')
  },
)

t.test('drain and reload are for the daemon; what fails there is the answer', async (t) => {
  const harness = await twoBanks()
  t.strictSame(await harness.call('drain'), { ok: true, result: { draining: true } })
  t.equal(harness.drains, 1)
  t.match(await harness.call('reload'), { ok: true, result: { reloaded: true, added: [] } })
  harness.reload = async () => {
    throw new LsxError('BAD_REQUEST', 'ls.yaml is not a valid configuration')
  }
  t.match(await harness.call('reload'), refused('BAD_REQUEST', /ls\.yaml/))
  harness.reload = () => {
    throw new TypeError('a defect')
  }
  t.match(await harness.call('reload'), refused('INTERNAL'))
  t.ok(harness.log.lines.some((line) => line.level === 'error' && /operator command failed/.test(line.message)))
})

t.test('LS-17 uptime: figures and transitions, of all banks or one, of a span and a number', async (t) => {
  const harness = await twoBanks()
  await harness.connect('044')
  await harness.clock.advance(60_000)
  harness.link('044').drop()
  await harness.clock.advance(1_000)
  harness.dial('058')
  await harness.clock.advance(KX_MS)
  const all = (await harness.call('uptime')) as { result: { banks: Message[]; transitions: Message[] } }
  t.match(all.result.banks, [
    { bankCode: '044', name: 'Bank 044', state: 'idle', up: false, connects: 1, dropCount: 1, drops: { local: 1 } },
    { bankCode: '058', name: 'Bank 058', state: 'connected', up: true },
  ])
  t.match(
    all.result.transitions.map(({ bankCode, from, to }) => `${bankCode} ${from}>${to}`),
    [
      '044 idle>securing',
      '044 securing>connected',
      '044 connected>idle',
      '058 idle>securing',
      '058 securing>connected',
    ],
  )
  const one = (await harness.call('uptime', { bank: '044', sinceMs: 30_000, limit: 10 })) as typeof all
  t.match(one.result, {
    banks: [{ bankCode: '044' }],
    transitions: [{ from: 'connected', to: 'idle', cause: 'local' }],
  })
  t.equal(one.result.transitions.length, 1)
  const newest = (await harness.call('uptime', { limit: 1 })) as typeof all
  t.match(newest.result.transitions, [{ bankCode: '058', to: 'connected' }])
  t.match(await harness.call('uptime', { bank: '070' }), refused('UNKNOWN_BANK'))
})

t.test('LS-17 following: an answer, then each transition as it happens, until the operator leaves', async (t) => {
  const harness = await twoBanks()
  const other = new TestConnection(10)
  t.strictSame(await harness.call('uptime-follow'), { ok: true, result: { following: 'all' } })
  t.strictSame(await harness.call('uptime-follow', { bank: '058' }, other), { ok: true, result: { following: '058' } })
  await harness.connect('044')
  t.match(harness.events(1), [
    { id: 1, event: 'transition', data: { bankCode: '044', from: 'idle', to: 'securing' } },
    { id: 1, event: 'transition', data: { bankCode: '044', from: 'securing', to: 'connected' } },
  ])
  await harness.connect('058')
  t.equal(harness.events(2, other).length, 2)
  t.equal(harness.events(1).length, 4)

  harness.admin.onClose(harness.operator)
  harness.link('044').drop()
  harness.link('058').drop()
  t.equal(harness.events(1).length, 4, 'who has left is told nothing')
  t.equal(harness.events(2, other).length, 3)
  harness.admin.onClose(other)
  harness.admin.onClose(other)
  t.match(await harness.call('uptime-follow', { bank: '070' }), refused('UNKNOWN_BANK'))
})

t.test('LS-17 following: several subscriptions of one connection, each given up by itself', async (t) => {
  const harness = await twoBanks()
  await harness.call('uptime-follow')
  await harness.call('uptime-follow', { bank: '058' })
  await harness.connect('058')
  t.equal(harness.events(1).length, 2)
  t.equal(harness.events(2).length, 2)
  t.strictSame(await harness.call('unsubscribe', { subscription: 2 }), { ok: true, result: { ended: true } })
  t.strictSame(await harness.call('unsubscribe', { subscription: 2 }), { ok: true, result: { ended: false } })
  harness.link('058').drop()
  t.equal(harness.events(1).length, 3)
  t.equal(harness.events(2).length, 2)
  t.match(await harness.call('unsubscribe', {}), refused('BAD_REQUEST', /subscription/))
  const stranger = new TestConnection(10)
  t.strictSame(await harness.call('unsubscribe', { subscription: 1 }, stranger), { ok: true, result: { ended: false } })
  t.strictSame(await harness.call('unsubscribe', { subscription: 1 }), { ok: true, result: { ended: true } })
  await harness.reconnect('058')
  t.equal(harness.events(1).length, 3)
})

t.test('LS-17 following is bounded, and the bound is free again when the connection has ended', async (t) => {
  const harness = await twoBanks()
  for (let n = 0; n < 4; n++) t.match(await harness.call('uptime-follow'), { ok: true })
  t.match(await harness.call('uptime-follow'), refused('BUSY'))
  t.match(await harness.call('uptime-follow', {}, new TestConnection(10)), { ok: true })
  harness.admin.onClose(harness.operator)
  t.match(await harness.call('uptime-follow'), { ok: true })
})

t.test('SEC-11 each command of an operator is in the log for the audit; who only looks is not', async (t) => {
  const harness = await twoBanks()
  await harness.call('status')
  await harness.call('uptime')
  await harness.call('uptime-follow')
  await harness.call('unsubscribe', { subscription: 3 })
  await harness.call('quarantine', { bank: '044', reason: 'ticket 17' })
  await harness.call('drop', { bank: '044' })
  t.strictSame(harness.auditLines(), ['quarantine', 'drop'])
  const [line] = harness.log.lines.filter((one) => one.facts.op === 'quarantine')
  t.match(line?.facts.options, { bank: '044', reason: 'ticket 17' })
})

t.test(
  'SEC-11 a command and what came of it are on record, with what is proven and what is claimed of who gave it',
  async (t) => {
    const harness = await twoBanks()
    await harness.call('status', { by: { user: 'ada' } })
    const by = { user: 'ada', uid: 1001, sudoUser: 'x'.repeat(200), pid: {}, forged: 'via' }
    await harness.call('quarantine', { bank: '044', reason: 'ticket 17', by })
    await harness.call('resume', { bank: '058' })
    const { entries } = harness.audit
    t.match(
      entries
        .filter(({ event }) => event.startsWith('command'))
        .map(({ event, facts }) => [event, facts?.op, facts?.ok, facts?.code]),
      [
        ['command', 'quarantine', undefined, undefined],
        ['command-result', 'quarantine', true, undefined],
        ['command', 'resume', undefined, undefined],
        ['command-result', 'resume', false, 'BAD_REQUEST'],
      ],
    )
    const [command, result] = entries.filter(({ event }) => event.startsWith('command'))
    t.strictSame(command?.by, {
      via: 'ls-admin.sock',
      provenUids: [...new Set([process.geteuid?.() ?? 0, 0])],
      claimed: { user: 'ada', uid: 1001, sudoUser: 'x'.repeat(64) },
    })
    t.match(command, { bankCode: '044', facts: { options: { bank: '044', reason: 'ticket 17' } } })
    t.equal(result?.facts?.command, entries.indexOf(command as never))
  },
)
