import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { addKeysCommands } from '../../lib/cli/keys.ts'
import { decodePayload, encodePayload, type Message } from '../../lib/ipc/index.ts'
import {
  loadSealingKey,
  openRequest,
  readSealingPublicKey,
  SEALED_TYPE,
  sealAnswer,
} from '../../lib/message/jwe/index.ts'
import { createRecordingIo, runLine } from '../support/recording-io.ts'
import { startScriptedDaemon } from '../support/scripted-daemon.ts'

t.test('SEC-9 SEC-10 lsctl keys new --for sealing: a private key of its owner, and a JWK to hand out', async (t) => {
  for (const [kind, algorithm] of [
    ['x25519', 'ECDH-ES+A256KW'],
    ['p256', 'ECDH-ES+A256KW'],
    ['rsa4096', 'RSA-OAEP-256'],
  ] as const) {
    const file = join(t.testdir(), 'sealing.key')
    const line = ['keys', 'new', '--for', 'sealing', '--kind', kind, '--out', file]
    const made = await runLine(addKeysCommands, [...line, '--json'])
    const { keyId, publicFile } = JSON.parse(made.out)
    t.equal(statSync(file).mode & 0o777, 0o600)
    t.equal(publicFile, file.replace('.key', '.jwk'))
    t.match(loadSealingKey(file), { keyId, algorithm })
    t.match(readSealingPublicKey(publicFile), { keyId, algorithm })
    t.notMatch(readFileSync(publicFile, 'utf8'), /"d"/)
    t.match(JSON.parse(readFileSync(publicFile, 'utf8')), { kid: keyId, use: 'enc', alg: algorithm })
    t.match((await runLine(addKeysCommands, line)).err, /never overwritten/)
  }
})

t.test('SEC-9 lsctl send --seal-to seals, opens the answer, and sends the same bytes again', async (t) => {
  const dir = t.testdir()
  const keyFile = join(dir, 'sealing.key')
  const publicFile = join(dir, 'sealing.jwk')
  await runLine(addKeysCommands, ['keys', 'new', '--for', 'sealing', '--out', keyFile])
  const key = loadSealingKey(keyFile)
  const answerTo = async (message: Message): Promise<Message> => {
    const context = { bankCode: '044', method: 'transfer', idempotencyKey: String(message.key) }
    const opened = await openRequest(message.payload as Buffer, { context, key })
    const answer = { echoed: decodePayload(opened.payload) }
    return {
      payload: await sealAnswer(encodePayload(answer), opened, { status: 0, nowMs: Date.now() }),
      type: SEALED_TYPE,
    }
  }
  const lsd = await startScriptedDaemon(t, {
    request: (message, connection) => {
      const reply = { id: message.id, outcome: 'answered', key: message.key, ms: 1 }
      answerTo(message).then((answer) => connection.reply({ ...reply, ...answer }))
      return undefined
    },
  })
  const file = join(dir, 'invoice.sealed')
  const line = ['send', '044', 'transfer', '{"note":"hidden"}', '--seal-to', publicFile, '--sealed', file, '--json']
  const first = await lsd.run(line)
  t.match(JSON.parse(first.out), { outcome: 'answered', payload: { echoed: { note: 'hidden' } } })
  t.equal(statSync(file).mode & 0o777, 0o600)
  const second = await lsd.run(line)
  t.match(JSON.parse(second.out), { outcome: 'answered', key: JSON.parse(first.out).key })
  t.strictSame(lsd.asked[0]?.payload, lsd.asked[1]?.payload)
  t.match(lsd.asked[0], { type: SEALED_TYPE })
  const [{ payload } = {}] = lsd.asked
  t.notOk((payload as Buffer).includes('hidden'))
  const other = await lsd.run(['send', '044', 'balance', '--seal-to', publicFile, '--sealed', file])
  t.equal(other.exitCode, 2)
})

t.test('SEC-9 an answer that is not sealed tells nothing', async (t) => {
  const dir = t.testdir()
  await runLine(addKeysCommands, ['keys', 'new', '--for', 'sealing', '--out', join(dir, 'sealing.key')])
  const lsd = await startScriptedDaemon(t, {
    request: ({ key }) => ({ outcome: 'answered', payload: encodePayload({ forged: true }), key, ms: 1 }),
  })
  const io = await lsd.run(['send', '044', 'transfer', '--seal-to', join(dir, 'sealing.jwk')])
  t.equal(io.exitCode, 5)
  t.notMatch(io.out, /forged/)
  t.match(io.err, /--sealed/)
  t.equal(createRecordingIo().out, '')
})
