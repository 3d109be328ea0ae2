import type { Endpoint, OpenOptions } from '../system.ts'
import { openWebSocket, serveWebSocket } from './web-socket.ts'

/** Bare `ws` over mutual TLS 1.3: two processes, no routing, no sealing, nothing kept. The floor of what Node can do. */
const BARE = { encode: (message: Buffer) => message, decode: (message: Buffer) => message }

export const serve = (endpoint: Endpoint) => serveWebSocket(endpoint, () => BARE)
export const open = (options: OpenOptions) => openWebSocket(options, BARE)
