import { spawn } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { RollingLog, type RollingLogOptions } from '../../../lib/ls/uptime/index.ts'
import { createLogger, silentLogger } from '../../../lib/runtime/index.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const STALL_MS = 20_000
const DATED = /^uptime\.\d{4}-\d\d-\d\d\.\d+\.log$/

function newLog(dir: string, options: Partial<RollingLogOptions> = {}): RollingLog {
  return new RollingLog({ dir, name: 'uptime', logger: silentLogger, ...options })
}

const signal = () => AbortSignal.timeout(STALL_MS)
const line = (n: number, bytes = 0) => ({ event: 'transition', n, filler: 'x'.repeat(bytes) })

/** In the order in which they were written. */
function datedFiles(dir: string): string[] {
  const number = (file: string) => Number(file.split('.')[2])
  return readdirSync(dir)
    .filter((file) => DATED.test(file))
    .sort((left, right) => left.slice(0, 17).localeCompare(right.slice(0, 17)) || number(left) - number(right))
}

function numbersIn(path: string): number[] {
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((text) => text !== '')
    .map((text) => JSON.parse(text).n)
}

async function until(condition: () => boolean): Promise<void> {
  const stall = signal()
  while (!condition()) {
    stall.throwIfAborted()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
}

/** Writes one line and waits until it is in its file, and the file that follows is open. */
async function writeAndRoll(log: RollingLog, n: number): Promise<void> {
  const before = readlinkSync(log.path)
  log.write(line(n, 1_100))
  await until(() => readlinkSync(log.path) !== before)
}

t.test('LS-17 the uptime log is read as uptime.log, a link to the dated and numbered file', async (t) => {
  const dir = join(t.testdir({}), 'deep', 'logs')
  const log = newLog(dir)
  await log.start(signal())
  t.equal(log.path, join(dir, 'uptime.log'))
  t.ok(lstatSync(log.path).isSymbolicLink())
  t.match(readlinkSync(log.path), DATED, 'relative, so that the directory can be moved')
  log.write(line(1))
  log.write(line(2))
  await log.stop(signal())
  t.same(numbersIn(log.path), [1, 2])
  t.equal(statSync(log.path).mode & 0o137, 0, 'readable by owner and group only')
  await log.stop(signal())
})

t.test('LS-17 the log rotates at its size; the link follows, no line is lost, old files go', async (t) => {
  const dir = t.testdir({})
  const log = newLog(dir, { maxFileBytes: 1_000, keepFiles: 3 })
  await log.start(signal())
  const seen: number[] = []
  for (let n = 0; n < 12; n++) {
    const current = readlinkSync(log.path)
    await writeAndRoll(log, n)
    seen.push(...numbersIn(join(dir, current)))
    t.equal(readlinkSync(log.path), datedFiles(dir).at(-1), 'the link is at the newest file')
  }
  t.same(
    seen,
    Array.from({ length: 12 }, (_, n) => n),
  )
  await until(() => datedFiles(dir).length <= 4)
  t.equal(readlinkSync(log.path).split('.')[2], '13')
  await log.stop(signal())
})

t.test('LS-17 tail -F of the link follows from file to file', async (t) => {
  const dir = t.testdir({})
  const log = newLog(dir, { maxFileBytes: 1_000 })
  await log.start(signal())
  const tail = spawn('tail', ['-F', '-n', '+1', '-s', '0.05', log.path], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => tail.kill())
  let output = ''
  tail.stdout.on('data', (chunk) => {
    output += chunk
  })
  for (let n = 0; n < 6; n += 2) {
    log.write(line(n))
    await until(() => output.includes(`"n":${n},`))
    // Whatever follows a file, what is written to it in its last instant may be missed.
    await writeAndRoll(log, n + 1)
  }
  await log.stop(signal())
})

t.test('a restart goes on in the newest file of the day', async (t) => {
  const dir = t.testdir({})
  const first = newLog(dir, { maxFileBytes: 1_000 })
  await first.start(signal())
  await writeAndRoll(first, 0)
  await writeAndRoll(first, 1)
  first.write(line(2))
  await first.stop(signal())
  const newest = readlinkSync(first.path)
  const second = newLog(dir, { maxFileBytes: 1_000 })
  await second.start(signal())
  t.equal(readlinkSync(second.path), newest)
  second.write(line(3))
  await second.stop(signal())
  t.same(numbersIn(second.path), [2, 3])
})

t.test('a restart removes what rotation would have: the oldest days and numbers, and no file of others', async (t) => {
  const dir = t.testdir({
    'uptime.2020-01-01.1.log': 'old',
    'uptime.2020-01-02.9.log': 'old',
    'uptime.2020-01-02.10.log': 'old',
    'uptime.2020-01-03.1.log': 'old',
    'uptime.2020-01-04.1.log': 'old',
    'uptimes.2019-01-01.1.log': 'of another program',
    'lsd.7.log': 'of another program',
  })
  const log = newLog(dir, { keepFiles: 3 })
  await log.start(signal())
  await log.stop(signal())
  const files = readdirSync(dir)
  t.same(
    datedFiles(dir).slice(0, 3),
    ['uptime.2020-01-02.10.log', 'uptime.2020-01-03.1.log', 'uptime.2020-01-04.1.log'],
    'ten is after nine',
  )
  t.ok(files.includes('uptimes.2019-01-01.1.log') && files.includes('lsd.7.log'))
})

t.test('the file being written is not taken for the oldest after a restart on a later day', async (t) => {
  const dir = t.testdir({ 'uptime.2020-01-01.41.log': 'old', 'uptime.2020-01-01.42.log': 'old' })
  const log = newLog(dir, { maxFileBytes: 1_000, keepFiles: 2 })
  await log.start(signal())
  for (let n = 0; n < 4; n++) await writeAndRoll(log, n)
  await until(() => !readdirSync(dir).includes('uptime.2020-01-01.42.log'))
  log.write(line(4))
  await log.stop(signal())
  t.same(numbersIn(log.path), [4])
})

t.test('a slow disk: what waits is bounded, the rest is dropped, counted and told once', async (t) => {
  const dir = t.testdir({})
  const warnings: string[] = []
  const logger = createLogger({ name: 'test', level: 'warn', destination: { write: (text) => warnings.push(text) } })
  const log = newLog(dir, { maxBufferedBytes: 10_000, logger })
  await log.start(signal())
  // All in one turn: no write can end in between.
  for (let n = 0; n < 100; n++) log.write(line(n, 1_000))
  t.ok(log.droppedLines > 80 && log.droppedLines < 100, `${log.droppedLines} of 100 lines dropped`)
  await log.drained(signal())
  await log.stop(signal())
  const written = readFileSync(log.path, 'utf8')
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text))
  const note = written.pop()
  t.match(note, { event: 'lines-dropped', lines: log.droppedLines, ts: String })
  t.same(
    written.map(({ n }) => n),
    Array.from({ length: 100 - log.droppedLines }, (_, n) => n),
  )
  t.equal(warnings.length, 1)
  t.match(warnings[0], /the uptime log drops lines/)
})

/** A log whose file of today is /dev/full: it opens, and each write fails as on a full disk. */
async function startOnFullDisk(
  t: Test,
  options: Partial<RollingLogOptions>,
): Promise<{ log: RollingLog; file: string }> {
  const probe = newLog(t.testdir({}))
  await probe.start(signal())
  const name = readlinkSync(probe.path)
  await probe.stop(signal())
  const dir = join(t.testdirName, 'full')
  mkdirSync(dir)
  const file = join(dir, name)
  symlinkSync('/dev/full', file)
  const log = newLog(dir, options)
  await log.start(signal())
  return { log, file }
}

t.test('a full disk: writing neither throws nor ends the process, and is told once', async (t) => {
  const warnings: string[] = []
  const logger = createLogger({ name: 'test', level: 'warn', destination: { write: (text) => warnings.push(text) } })
  const { log } = await startOnFullDisk(t, { maxBufferedBytes: 10_000, logger })
  for (let n = 0; n < 50; n++) {
    log.write(line(n, 1_000))
    await log.drained(signal())
  }
  t.ok(log.droppedLines > 30)
  t.equal(warnings.length, 1)
  t.match(JSON.parse(warnings[0] ?? '{}'), { msg: 'the uptime log cannot be written', error: { code: 'ENOSPC' } })
  const giveUp = new AbortController()
  const stopped = log.stop(giveUp.signal)
  giveUp.abort()
  await stopped
})

t.test('a disk that was full and has room again is written again', async (t) => {
  const clock = new VirtualClock()
  const { log, file } = await startOnFullDisk(t, { maxBufferedBytes: 3_000, clock })
  for (let n = 0; n < 10; n++) {
    log.write(line(n, 1_000))
    await log.drained(signal())
  }
  rmSync(file)
  const dropped = log.droppedLines
  log.write(line(10, 1_000))
  t.equal(log.droppedLines, dropped + 1, 'the buffer is full')
  const stall = signal()
  while (!(existsSync(file) && readFileSync(file, 'utf8').includes('lines-dropped'))) {
    stall.throwIfAborted()
    await clock.advance(5_000)
  }
  log.write(line(12))
  await log.stop(signal())
  const written = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text))
  t.match(written, [{ n: 0 }, { n: 1 }, { event: 'lines-dropped', lines: 9 }, { n: 12 }])
  t.equal(written.length, 4)
  t.equal(clock.pendingTimers, 0)
})

t.test('lines before the start and after the end are counted, not thrown', async (t) => {
  const log = newLog(t.testdir({}))
  log.write(line(0))
  await log.start(signal())
  await log.stop(signal())
  log.write(line(1))
  await log.drained(signal())
  t.equal(log.droppedLines, 2)
})

t.test('a directory that cannot be used is named at the start', async (t) => {
  const dir = t.testdir({ occupied: 'a file', taken: {} })
  const occupied = join(dir, 'occupied')
  await t.rejects(newLog(occupied).start(signal()), {
    code: 'INTERNAL',
    message: `cannot open the log ${join(occupied, 'uptime.log')}`,
  })
  // The name of today's file is taken by a directory: opening fails after pino-roll has answered.
  const probe = newLog(join(dir, 'probe'))
  await probe.start(signal())
  await probe.stop(signal())
  mkdirSync(join(dir, 'taken', readlinkSync(probe.path)))
  await t.rejects(newLog(join(dir, 'taken')).start(signal()), { code: 'INTERNAL', cause: { code: 'EISDIR' } })
})

t.test('a file in the place of the link gives way to it', async (t) => {
  const dir = t.testdir({})
  writeFileSync(join(dir, 'uptime.log'), 'of an earlier time')
  const log = newLog(dir)
  await log.start(signal())
  t.ok(lstatSync(log.path).isSymbolicLink())
  t.equal(readFileSync(join(dir, 'uptime.log.before'), 'utf8'), 'of an earlier time', 'and is kept')
  await log.stop(signal())
})
