import ipaddr from 'ipaddr.js'
import { LsxError } from '../runtime/index.ts'

type Range = readonly [ipaddr.IPv4 | ipaddr.IPv6, number]

/**
 * Addresses that may connect: single IPv4 or IPv6 addresses and CIDR ranges.
 * An IPv4-mapped IPv6 address (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2) counts as its IPv4 address.
 */
export class AllowList {
  readonly #ranges: readonly Range[]

  /** Throws BAD_REQUEST naming the entry that is no address or range. An empty list permits nobody. */
  constructor(entries: readonly string[]) {
    this.#ranges = entries.map(parseRange)
  }

  permits(address: string | undefined): boolean {
    if (address === undefined) return false
    // A link-local peer comes with its zone (fe80::1%eth0), which is no part of the address.
    const bare = address.split('%', 1)[0] ?? ''
    if (!ipaddr.isValid(bare)) return false
    const parsed = ipaddr.process(bare)
    return this.#ranges.some((range) => parsed.kind() === range[0].kind() && parsed.match(range as [never, number]))
  }
}

function parseRange(entry: string): Range {
  try {
    // A zone would be taken and then permit the address on every interface.
    if (entry.includes('%')) throw new Error('a zone')
    const range: Range = entry.includes('/')
      ? ipaddr.parseCIDR(entry)
      : [ipaddr.parse(entry), entry.includes(':') ? 128 : 32]
    if (!entry.includes(':') && !ipaddr.IPv4.isValidFourPartDecimal(entry.split('/', 1)[0] ?? ''))
      throw new Error('not four decimal parts')
    const [address, bits] = range
    if (address.kind() === 'ipv6' && (address as ipaddr.IPv6).isIPv4MappedAddress() && bits >= 96) {
      return [(address as ipaddr.IPv6).toIPv4Address(), bits - 96]
    }
    return range
  } catch (error) {
    throw new LsxError('BAD_REQUEST', `allow-list entry ${JSON.stringify(entry)} is no IP address or CIDR range`, {
      cause: error,
      party: 'self',
    })
  }
}
