/** What an operator can do about a TLS handshake that failed. `why` is the error's own text or verdict. */
export function tlsHint(code: string | undefined, why: string): string {
  if (code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'the peer connected and did not finish the handshake'
  if (code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE') return 'the peer showed no certificate'
  if (/unsupported protocol|no protocols available|alert protocol version/.test(why) || code?.includes('PROTOCOL'))
    return 'the peer offers nothing newer than TLS 1.2'
  // An alert is the peer's verdict on our certificate; what is not one is ours on the peer's.
  if (/alert (bad certificate|unknown ca|certificate required|certificate expired)/.test(why))
    return 'the peer does not take our certificate; see its log'
  if (/CERT_HAS_EXPIRED|expired/.test(why)) return "the peer's certificate has expired: issue it again"
  if (code === undefined || /wrong version number|http request|packet length too long/.test(why))
    return 'the peer may not speak TLS: is it the right port?'
  return "is the peer's certificate from the CA that `caFile` names?"
}

/** The error's own words, without the place in OpenSSL's sources that comes with them. */
export function tlsReason(error: Error): string {
  const reason: unknown = Reflect.get(error, 'reason')
  if (typeof reason === 'string' && reason !== '') return reason
  // thread:error:number:library:function:reason:file:line:
  const fields = error.message.split(':')
  return fields[1] === 'error' ? (fields[5] ?? error.message) : error.message
}
