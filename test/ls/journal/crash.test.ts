import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { RequestJournal } from '../../../lib/ls/journal/index.ts'
import { JournalHarness, newRequest, responseTo } from './journal-harness.ts'

const WRITER = fileURLToPath(new URL('./crash-writer.js', import.meta.url))
const ROUNDS = 3
const PROMISES_A_ROUND = 1_500

/** What the writer said before it was killed: the last word on each key. */
async function promisesUntilKilled(path: string): Promise<Map<string, string>> {
  const writer = spawn(process.execPath, [WRITER, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const promises = new Map<string, string>()
  let lines = 0
  for await (const line of createInterface({ input: writer.stdout })) {
    const [what = '', key = '', end] = line.split(' ')
    // A line that the kill has cut is no promise.
    if (end !== '.') continue
    promises.set(key, what)
    if (++lines === PROMISES_A_ROUND) writer.kill('SIGKILL')
  }
  return promises
}

function isKept(journal: RequestJournal, key: string, what: string): boolean {
  const record = journal.get(key)
  if (record === undefined || !record.payload.equals(newRequest(key).payload)) return false
  switch (what) {
    case 'answered':
      return record.outcome === 'answered' && record.response?.equals(responseTo(key)) === true
    case 'refused':
      return record.outcome === 'refused' && record.code === 'BUSY'
    case 'in-doubt':
      return record.state === 'sent' && record.outcome === 'in-doubt'
    default:
      // Its settlement may have been on its way.
      return record.state === 'sent' || record.state === 'settled'
  }
}

t.test('BEY-2 kill -9 of LS loses no promise of the journal, round after round', async (t) => {
  const path = join(t.testdir({}), 'store')
  const promises = new Map<string, string>()
  for (let round = 0; round < ROUNDS; round++) {
    for (const [key, what] of await promisesUntilKilled(path)) promises.set(key, what)
    const { journal, store } = await JournalHarness.start(path)
    await journal.verification
    t.same(
      [...promises].filter(([key, what]) => !isKept(journal, key, what)),
      [],
      `${promises.size} requests after round ${round + 1}`,
    )
    t.equal(journal.damagedCount, 0)
    const { open, inDoubt, settled } = journal.counts
    t.ok(open + settled >= promises.size)
    t.ok(inDoubt > 0 && inDoubt < open)
    const listed = new Set([...openKeys(journal, '044'), ...openKeys(journal, '058')])
    t.equal(listed.size, open, 'every open one is found for its settlement')
    await journal.stop()
    await store.close()
  }
  t.ok(promises.size > (ROUNDS * PROMISES_A_ROUND) / 3)

  const { journal, store } = await JournalHarness.start(path)
  const open = [...openKeys(journal, '044'), ...openKeys(journal, '058')]
  await Promise.all(open.map((key) => journal.settle(key, { outcome: 'not-sent' })))
  t.match(journal.counts, { open: 0, inDoubt: 0 }, 'and can be settled')
  await journal.stop()
  await store.close()
})

function openKeys(journal: RequestJournal, bankCode: string): string[] {
  const keys: string[] = []
  for (let page = journal.open(bankCode, { limit: 200 }); page.length > 0; ) {
    keys.push(...page.map(({ key }) => key))
    page = journal.open(bankCode, { limit: 200, after: page.at(-1)?.sequence })
  }
  return keys
}
