import type { Server } from 'node:net'
import { createSecureContext, loadTlsMaterial, secureContextOptions, type TlsFiles } from '../../lib/certs/index.ts'

/** Mutual TLS 1.3 as the product does it, for servers of node:https, node:http2 and the like. */
export function serverTls(files: TlsFiles) {
  return { ...secureContextOptions(loadTlsMaterial(files)), requestCert: true, rejectUnauthorized: true, noDelay: true }
}

export function clientTls(files: TlsFiles) {
  return { secureContext: createSecureContext(loadTlsMaterial(files)), rejectUnauthorized: true }
}

/** Listens on 127.0.0.1, on a port that the system chooses. */
export function listening(server: Server): Promise<{ port: number }> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (typeof address === 'object' && address !== null) resolve({ port: address.port })
      else reject(new Error('no port'))
    })
  })
}
