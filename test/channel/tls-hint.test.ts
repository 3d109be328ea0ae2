import t from 'tap'
import { tlsHint, tlsReason } from '../../lib/channel/tls-hint.ts'

t.test('each way in which TLS fails has a hint, and whose certificate it is about is told apart', async (t) => {
  const hints: [code: string | undefined, why: string, hint: RegExp][] = [
    ['ERR_TLS_HANDSHAKE_TIMEOUT', 'TLS handshake timeout', /did not finish the handshake/],
    ['ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', 'peer did not return a certificate', /showed no certificate/],
    ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'unsupported protocol', /nothing newer than TLS 1\.2/],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'tlsv1 alert protocol version', /nothing newer than TLS 1\.2/],
    ['CERT_HAS_EXPIRED', 'certificate has expired', /the peer's certificate has expired/],
    [undefined, 'CERT_HAS_EXPIRED', /the peer's certificate has expired/],
    ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'sslv3 alert certificate expired', /our certificate/],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'tlsv1 alert unknown ca', /our certificate/],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'tlsv13 alert certificate required', /our certificate/],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'wrong version number', /may not speak TLS/],
    ['ERR_SSL_HTTP_REQUEST', 'http request', /may not speak TLS/],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'self-signed certificate in certificate chain', /caFile/],
  ]
  for (const [code, why, hint] of hints) t.match(tlsHint(code, why), hint, `${code} ${why}`)
})

t.test('an error of OpenSSL is told in its own words, without the place in its sources', async (t) => {
  const message =
    '805C0C41617F0000:error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:rec_layer_s3.c:1601:'
  t.equal(tlsReason(new Error(message)), 'tlsv13 alert certificate required')
  t.equal(tlsReason(Object.assign(new Error(message), { reason: 'told apart' })), 'told apart')
  t.equal(tlsReason(new Error('read ECONNRESET')), 'read ECONNRESET')
})
