import { request } from 'node:https'
import { LsxError } from '../runtime/index.ts'
import { connectTlsPeer, type TlsTarget } from './tls-peer.ts'

const MAX_ANSWER_BYTES = 4_096

/** Gets `/health` of a peer over mutual TLS and returns its JSON object. @throws LsxError CHANNEL_DOWN, CERT_DENIED or IP_DENIED */
export function askHealth(target: TlsTarget, signal: AbortSignal): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const peer = connectTlsPeer(target)
    const fail = (error: Error) => {
      peer.socket.destroy()
      reject(peer.refusal() ?? new LsxError('CHANNEL_DOWN', `no health answer: ${error.message}`, { cause: error }))
    }
    const asked = request(
      { path: '/health', method: 'GET', createConnection: () => peer.socket, headers: { host: target.host }, signal },
      (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes > MAX_ANSWER_BYTES) asked.destroy(new Error('the answer is too long'))
          else chunks.push(chunk)
        })
        response.on('error', fail)
        response.on('end', () => {
          try {
            if (response.statusCode !== 200) throw new Error(`HTTP status ${response.statusCode}`)
            resolve(parseObject(Buffer.concat(chunks).toString('utf8')))
          } catch (error) {
            fail(error as Error)
          } finally {
            peer.socket.destroy()
          }
        })
      },
    )
    asked.on('error', fail)
    asked.end()
  })
}

function parseObject(text: string): Record<string, unknown> {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('it is no JSON object')
  return value as Record<string, unknown>
}
