import { chmodSync, copyFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { testBed } from '../support/daemons.ts'
import { openHandles, untilHandles } from '../support/open-handles.ts'

t.test('SEC-10 a daemon does not start with a key that others can read', async (t) => {
  const bed = await testBed(t)
  const handles = openHandles()
  await bed.startXchange('044')
  for (const { party, start, files } of [
    { party: 'LS', start: () => bed.startLs(), files: bed.node('lsd') },
    { party: 'an xchange', start: () => bed.startXchange('058'), files: bed.node('058') },
  ]) {
    for (const file of [files.keyFile, files.identityFile]) {
      for (const mode of [0o640, 0o604]) {
        chmodSync(file, mode)
        const refused = { code: 'REFUSED', party: 'self', message: new RegExp(`${file}.*chmod 600`) }
        await t.rejects(start(), refused, `${party}: mode ${mode.toString(8)}`)
      }
      chmodSync(file, 0o600)
    }
  }
  t.match(await (await bed.startLs()).bankStatus('044'), { status: 1 }, 'with 600 it starts')
  await bed.stop()
  await untilHandles(handles)
})

t.test('SEC-10 a process says in its log what is wrong with its keys, and exits with 1', async (t) => {
  const bed = await testBed(t)
  const { keyFile } = bed.node('lsd')
  chmodSync(keyFile, 0o644)
  const loose = bed.spawnLs()
  t.equal(await loose.exited, 1)
  t.match(loose.log.all({ level: 60 }), [{ msg: /^cannot start: .*chmod 600/, error: { code: 'REFUSED' } }])

  chmodSync(keyFile, 0o600)
  copyFileSync(bed.node('058').keyFile, keyFile)
  const swapped = bed.spawnLs()
  t.equal(await swapped.exited, 1)
  t.match(swapped.log.all({ level: 60 }), [
    { msg: /does not belong to the certificate/, error: { code: 'CERT_DENIED' } },
  ])

  writeFileSync(keyFile, 'no key')
  const broken = bed.spawnLs()
  t.equal(await broken.exited, 1)
  t.match(broken.log.all({ level: 60 }), [{ msg: /^cannot start: .*holds no private key/ }])
})
