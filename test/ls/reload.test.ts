import { join } from 'node:path'
import t from 'tap'
import { loadLsConfig } from '../../lib/ls/config.ts'
import { reloaded } from '../../lib/ls/reload.ts'
import { projectRoot, readProjectFile } from '../support/project.ts'
import { testConfig } from './switch-harness.ts'

t.test('a file that did not change changes nothing', async (t) => {
  const started = testConfig()
  const { config, needRestart } = reloaded(started, structuredClone(started))
  t.strictSame(config, started)
  t.strictSame(needRestart, [])
  t.ok(Object.isFrozen(config) && Object.isFrozen(config.listen))
})

t.test('what a reload applies is taken from the file, what needs a restart stays and is named', async (t) => {
  const started = testConfig()
  const file = testConfig({
    trustDomain: 'other.test',
    logLevel: 'debug',
    listen: { port: 7443, allow: ['192.0.2.1'] },
    requests: { early: 'reject' },
    frames: { maxFrameBytes: 4_096 },
    kx: { timeoutMs: 1_000 },
    echo: { intervalMs: 500 },
    drain: { timeoutMs: 1 },
    uptimeLog: { dir: '/var/log' },
  })
  const { config, needRestart } = reloaded(started, file)
  t.match(config, {
    trustDomain: started.trustDomain,
    logLevel: 'info',
    listen: { port: 0, allow: ['192.0.2.1'] },
    requests: { early: 'reject' },
    frames: { maxFrameBytes: 65_536 },
    kx: { timeoutMs: 1_000 },
    echo: { intervalMs: 500 },
    drain: { timeoutMs: 1 },
  })
  t.equal(config.uptimeLog.dir, undefined)
  t.strictSame([...needRestart].sort(), [
    'frames.maxFrameBytes',
    // The paths of these files and folders, since the file lies elsewhere.
    'identityKeyFile',
    'listen.port',
    'logLevel',
    'runtimeDir',
    'storeDir',
    'trustDomain',
    'uptimeLog.dir',
  ])
})

t.test('the shipped file marks as "reload" just what a reload applies', async (t) => {
  const started = loadLsConfig(join(projectRoot, 'config/ls.yaml'), {})
  const marked = new Set<string>()
  let section = ''
  let comment = ''
  for (const line of readProjectFile('config/ls.yaml').split('\n')) {
    const option = /^( {0,2})([a-zA-Z]+):/.exec(line)
    if (/^ *#/.test(line)) comment += `${line}\n`
    else if (option !== null) {
      const [, indent = '', name = ''] = option
      if (indent === '') section = name
      if (/# reload|\. reload\n/.test(comment)) marked.add(indent === '' ? name : `${section}.${name}`)
      comment = ''
    } else if (line.trim() === '') comment = ''
  }
  t.ok(marked.size >= 8)
  const isMarked = (path: string) => [...marked].some((mark) => path === mark || path.startsWith(`${mark}.`))
  for (const [name, value] of Object.entries(started)) {
    const paths =
      typeof value === 'object' && !Array.isArray(value) ? Object.keys(value).map((inner) => [name, inner]) : [[name]]
    for (const path of paths) {
      const file = structuredClone(started) as unknown as Record<string, unknown>
      const holder = path.length === 1 ? file : (file[name] as Record<string, unknown>)
      holder[path.at(-1) ?? ''] = 'changed'
      const { needRestart } = reloaded(started, file as never)
      t.strictSame(needRestart, isMarked(path.join('.')) ? [] : [path.join('.')], path.join('.'))
    }
  }
})
