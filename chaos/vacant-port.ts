import { once } from 'node:events'
import { createServer } from 'node:net'

/**
 * A port on 127.0.0.1 that nobody listens on at the moment: it was given by the system and let go again. For a daemon that
 * must be found where it was when it is started again.
 */
export async function vacantPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
