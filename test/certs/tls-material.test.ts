import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import tls, { type TLSSocket } from 'node:tls'
import t from 'tap'
import {
  createSecureContext,
  loadTlsMaterial,
  secureContextOptions,
  spiffeIdOf,
  type TlsFiles,
  type TlsMaterial,
} from '../../lib/certs/index.ts'
import { forgeCertificate } from '../support/forged-certificate.ts'
import { createTestPki } from '../support/pki.ts'

type End = Pick<TlsMaterial, 'key' | 'cert' | 'ca'>

interface Handshake {
  /** `accepted`, or why this end refused, or `refused` where only the other end knows why. */
  readonly server: string
  readonly client: string
  readonly protocol?: string | null
  readonly serverSaw?: string | undefined
  readonly clientSaw?: string | undefined
}

/** One connection over a real socket; accepted means that bytes went through. */
async function handshake(
  serverEnd: End,
  clientEnd: End | undefined,
  clientOptions: tls.ConnectionOptions = {},
  serverOptions: tls.TlsOptions = {},
): Promise<Handshake> {
  const server = tls.createServer({
    ...secureContextOptions(serverEnd),
    requestCert: true,
    rejectUnauthorized: true,
    ...serverOptions,
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const atServer = new Promise<TLSSocket | Error>((resolve) => {
    server.once('secureConnection', resolve)
    server.once('tlsClientError', resolve)
  })
  const { port } = server.address() as AddressInfo
  const secureContext =
    clientEnd === undefined
      ? tls.createSecureContext({ ca: serverEnd.ca, minVersion: 'TLSv1.3' })
      : createSecureContext(clientEnd)
  const client = tls.connect({ host: '127.0.0.1', port, secureContext, ...clientOptions })
  const atClient = new Promise<'accepted' | Error | undefined>((resolve) => {
    client.once('data', () => resolve('accepted'))
    client.once('error', resolve)
    client.once('close', () => resolve(undefined))
  })
  try {
    const socket = await atServer
    if (socket instanceof Error) {
      const seen = await atClient
      return { server: codeOf(socket), client: seen instanceof Error ? codeOf(seen) : 'refused' }
    }
    socket.on('error', () => {})
    socket.write('welcome')
    const seen = await atClient
    if (seen !== 'accepted') return { server: 'accepted', client: seen === undefined ? 'refused' : codeOf(seen) }
    return {
      server: socket.authorized ? 'accepted' : String(socket.authorizationError),
      client: 'accepted',
      protocol: socket.getProtocol(),
      serverSaw: idOf(socket),
      clientSaw: idOf(client),
    }
  } finally {
    client.destroy()
    server.close()
    await once(server, 'close')
  }
}

function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : error.message
}

function idOf(socket: TLSSocket): string | undefined {
  const certificate = socket.getPeerX509Certificate()
  return certificate === undefined ? undefined : spiffeIdOf(certificate)
}

t.test('LS-3 SEC-2 issued certificates carry mutual TLS 1.3, whichever side dials', async (t) => {
  const pki = await createTestPki(t.testdir())
  const ls = (await pki.issue('lsd')).material
  const bank = (await pki.issue('xchange', '044')).material
  const ids = { ls: 'spiffe://ls-xchange.test/ls', bank: 'spiffe://ls-xchange.test/xchange/044' }
  t.match(await handshake(bank, ls), {
    ...{ server: 'accepted', client: 'accepted', protocol: 'TLSv1.3' },
    ...{ serverSaw: ids.ls, clientSaw: ids.bank },
  })
  t.match(await handshake(ls, bank), {
    ...{ server: 'accepted', client: 'accepted', protocol: 'TLSv1.3' },
    ...{ serverSaw: ids.bank, clientSaw: ids.ls },
  })
})

t.test('LS-3 a client without a certificate is refused', async (t) => {
  const pki = await createTestPki(t.testdir())
  const { material } = await pki.issue('xchange', '044')
  t.match(await handshake(material, undefined), { server: 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE' })
})

t.test('LS-3 an expired certificate is refused at both ends', async (t) => {
  const pki = await createTestPki(t.testdir())
  const ls = (await pki.issue('lsd')).material
  const expired = (await pki.issue('xchange', '044', { expired: true })).material
  const asServer = await handshake(expired, ls)
  t.equal(asServer.client, 'CERT_HAS_EXPIRED')
  const asClient = await handshake(ls, expired)
  t.not(asClient.server, 'accepted')
  t.not(asClient.client, 'accepted')
})

t.test('LS-3 a certificate of another CA is refused at both ends, though the CA has the same name', async (t) => {
  const pki = await createTestPki(t.testdir())
  const ls = (await pki.issue('lsd')).material
  const foreign = (await pki.issue('xchange', '044', { authority: 'second' })).material
  // Such a peer would trust our CA too; only its own certificate is foreign.
  const intruder = { ...foreign, ca: ls.ca }
  t.not((await handshake(intruder, ls)).client, 'accepted')
  const asClient = await handshake(ls, intruder)
  t.not(asClient.server, 'accepted')
  t.not(asClient.client, 'accepted')
})

t.test('LS-3 a server for another host name is refused', async (t) => {
  const pki = await createTestPki(t.testdir())
  const ls = (await pki.issue('lsd')).material
  const elsewhere = (await pki.issue('xchange', '044', { dns: ['xchange.bank.example'], ips: [] })).material
  t.equal((await handshake(elsewhere, ls)).client, 'ERR_TLS_CERT_ALTNAME_INVALID')
  t.equal((await handshake(elsewhere, ls, { servername: 'xchange.bank.example' })).client, 'accepted')
})

t.test('LS-3 TLS 1.2 is refused at both ends', async (t) => {
  const pki = await createTestPki(t.testdir())
  const ls = (await pki.issue('lsd')).material
  const bank = (await pki.issue('xchange', '044')).material
  const old = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
  const oldClient = tls.createSecureContext({ ...secureContextOptions(ls), ...old })
  t.equal((await handshake(bank, ls, { secureContext: oldClient })).server, 'ERR_SSL_UNSUPPORTED_PROTOCOL')
  t.not((await handshake(bank, ls, {}, old)).client, 'accepted')
})

t.test('LS-3 no session is resumed: each connection shows its certificate', async (t) => {
  const pki = await createTestPki(t.testdir())
  const ls = (await pki.issue('lsd')).material
  const bank = (await pki.issue('xchange', '044')).material
  const server = tls.createServer({ ...secureContextOptions(bank), requestCert: true, rejectUnauthorized: true })
  t.teardown(() => server.close())
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    socket.end(`${socket.isSessionReused()} ${idOf(socket)}`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const secureContext = createSecureContext(ls)
  const sessions: Buffer[] = []
  const connect = async (session: Buffer | undefined): Promise<string> => {
    const options = { host: '127.0.0.1', port, secureContext }
    const socket = tls.connect(session === undefined ? options : { ...options, session })
    socket.on('session', (given: Buffer) => sessions.push(given))
    const chunks: Buffer[] = []
    for await (const chunk of socket) chunks.push(chunk)
    return Buffer.concat(chunks).toString()
  }
  t.equal(await connect(undefined), 'false spiffe://ls-xchange.test/ls')
  t.equal(await connect(sessions.at(-1)), 'false spiffe://ls-xchange.test/ls')
})

t.test('a certificate with two lists of names, of which only one is seen, does not pass TLS', async (t) => {
  const dir = t.testdir()
  const pki = await createTestPki(dir)
  const ls = (await pki.issue('lsd')).material
  const issuer = {
    certificatePem: readFileSync(pki.caFile, 'utf8'),
    privateKey: createPrivateKey(readFileSync(join(dirname(pki.caFile), 'ca.key'))),
  }
  const url = (value: string) => [{ type: 'url', value } as const]
  const forge = (names: readonly string[]) =>
    forgeCertificate({ issuer, names: names.map(url), usages: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'] })
  const one = await forge(['spiffe://ls-xchange.test/xchange/044'])
  const two = await forge(['spiffe://ls-xchange.test/xchange/044', 'spiffe://ls-xchange.test/ls'])
  const end = ({ certificatePem, privateKeyPem }: typeof one) => ({
    key: Buffer.from(privateKeyPem),
    cert: certificatePem,
    ca: ls.ca,
  })
  t.equal((await handshake(ls, end(one))).client, 'accepted')
  const refused = await handshake(ls, end(two))
  t.not(refused.server, 'accepted')
  t.not(refused.client, 'accepted')
})

t.test('SEC-2 what is loaded tells what it is', async (t) => {
  const pki = await createTestPki(t.testdir())
  const node = await pki.issue('xchange', '044')
  const material = loadTlsMaterial(node)
  t.match(material.certificate, {
    subject: 'O=ls-xchange, CN=xchange 044',
    spiffeId: 'spiffe://ls-xchange.test/xchange/044',
    fingerprint256: node.fingerprint256,
    notAfter: node.notAfter,
  })
  t.equal(material.cert, readFileSync(node.certFile, 'utf8'))
  t.equal(material.ca, readFileSync(pki.caFile, 'utf8'))
})

t.test('SEC-2 SEC-10 files that do not fit are refused, with what to do', async (t) => {
  const pki = await createTestPki(t.testdir())
  const node = await pki.issue('xchange', '044')
  const other = await pki.issue('xchange', '058')
  const refuses = (files: Partial<TlsFiles>, code: string, message: RegExp, nowMs?: number) => {
    t.throws(() => loadTlsMaterial({ ...node, ...files }, nowMs), { code, party: 'self', message }, String(message))
  }
  refuses({ keyFile: other.keyFile }, 'CERT_DENIED', /058\/tls\.key does not belong to .*044\/tls\.crt; issue both/)
  refuses({ keyFile: node.certFile }, 'REFUSED', /chmod 600/)
  refuses({ caFile: pki.secondCaFile }, 'CERT_DENIED', /was not issued by a valid CA of .*second-ca/)
  refuses({ certFile: node.pinFile }, 'CERT_DENIED', /identity\.pub holds no certificate/)
  refuses({ caFile: `${node.caFile}.absent` }, 'REFUSED', /no such file/)
  refuses({}, 'CERT_DENIED', /expired on .*; issue it again/, node.notAfter.getTime() + 1_000)
  refuses({}, 'CERT_DENIED', /not valid before .*check the clock/, Date.now() - 86_400_000)

  const authority = join(dirname(pki.caFile), 'ca.key')
  refuses({ keyFile: authority, certFile: pki.caFile }, 'CERT_DENIED', /certificate of a CA, not of a party/)
  const expired = await pki.issue('xchange', '044', { expired: true })
  t.throws(() => loadTlsMaterial(expired), { code: 'CERT_DENIED', message: /044-expired\/tls\.crt expired on/ })

  writeFileSync(node.keyFile, 'not a key')
  refuses({}, 'CERT_DENIED', /tls\.key holds no private key/)
  chmodSync(node.keyFile, 0o640)
  refuses({}, 'REFUSED', /tls\.key is open to other users \(mode 640\); run: chmod 600/)
  rmSync(node.keyFile)
  refuses({}, 'REFUSED', /tls\.key: no such file/)
  writeFileSync(other.certFile, readFileSync(other.certFile, 'utf8').replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA'))
  t.throws(() => loadTlsMaterial(other), { code: 'CERT_DENIED', message: /cannot be read/ })
})

t.test('SEC-2 a certificate for one end of TLS only is refused', async (t) => {
  const dir = t.testdir()
  const issuer = await forgeCertificate({ names: [], isCa: true })
  const caFile = join(dir, 'ca.crt')
  writeFileSync(caFile, issuer.certificatePem)
  const files = { keyFile: join(dir, 'tls.key'), certFile: join(dir, 'tls.crt'), caFile }
  for (const [usages, problem] of [
    [['1.3.6.1.5.5.7.3.1'], /both server and client/],
    [['1.3.6.1.5.5.7.3.2'], /both server and client/],
    [['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'], undefined],
  ] as const) {
    const forged = await forgeCertificate({
      names: [],
      usages,
      issuer: { certificatePem: issuer.certificatePem, privateKey: createPrivateKey(issuer.privateKeyPem) },
    })
    writeFileSync(files.keyFile, forged.privateKeyPem, { mode: 0o600 })
    writeFileSync(files.certFile, forged.certificatePem)
    if (problem === undefined) t.ok(loadTlsMaterial(files))
    else t.throws(() => loadTlsMaterial(files), { code: 'CERT_DENIED', message: problem })
  }
})

t.test('a certificate chains through the intermediates of its file', async (t) => {
  const dir = t.testdir()
  const root = await forgeCertificate({ names: [], isCa: true })
  const signedBy = (issuer: typeof root, isCa: boolean) =>
    forgeCertificate({
      names: [],
      isCa,
      issuer: { certificatePem: issuer.certificatePem, privateKey: createPrivateKey(issuer.privateKeyPem) },
    })
  const intermediate = await signedBy(root, true)
  const leaf = await signedBy(intermediate, false)
  const notCa = await signedBy(root, false)
  const underNotCa = await signedBy(notCa, false)
  const files = { keyFile: join(dir, 'tls.key'), certFile: join(dir, 'tls.crt'), caFile: join(dir, 'ca.crt') }
  const load = (key: typeof root, chain: readonly (typeof root)[]) => {
    writeFileSync(files.keyFile, key.privateKeyPem, { mode: 0o600 })
    writeFileSync(files.certFile, chain.map(({ certificatePem }) => certificatePem).join(''))
    return loadTlsMaterial(files)
  }
  writeFileSync(files.caFile, root.certificatePem)
  t.equal(load(leaf, [leaf, intermediate]).cert.match(/BEGIN/g)?.length, 2)
  t.throws(() => load(leaf, [leaf]), { code: 'CERT_DENIED', message: /was not issued/ })
  t.throws(() => load(underNotCa, [underNotCa, notCa]), { code: 'CERT_DENIED', message: /was not issued/ })
  const lonely = Array.from({ length: 65 }, () => leaf)
  t.throws(() => load(leaf, lonely), { code: 'CERT_DENIED', message: /more than 64/ })
})
