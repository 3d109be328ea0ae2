import { BlockList } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { AllowList } from '../../lib/channel/allow-list.ts'

t.test('LS-9 a single address permits itself only, IPv4 and IPv6', async (t) => {
  const list = new AllowList(['192.0.2.7', '2001:db8::7'])
  for (const address of ['192.0.2.7', '2001:db8::7', '2001:0DB8:0:0::0007']) t.ok(list.permits(address), address)
  for (const address of ['192.0.2.8', '192.0.3.7', '2001:db8::8', '::', '0.0.0.0'])
    t.notOk(list.permits(address), address)
})

t.test('LS-9 a CIDR range permits what lies in it, up to both ends', async (t) => {
  const list = new AllowList(['10.20.0.0/14', '2001:db8:40::/42'])
  for (const address of ['10.20.0.0', '10.23.255.255', '2001:db8:40::', '2001:db8:7f:ffff:ffff:ffff:ffff:ffff'])
    t.ok(list.permits(address), address)
  for (const address of ['10.19.255.255', '10.24.0.0', '2001:db8:3f:ffff::', '2001:db8:80::'])
    t.notOk(list.permits(address), address)
  t.ok(new AllowList(['10.20.30.40/8']).permits('10.9.8.7'), 'bits beyond the prefix say nothing')
  t.ok(new AllowList(['192.0.2.7/32']).permits('192.0.2.7'))
})

t.test('LS-9 an IPv4-mapped address counts as its IPv4 address, on the list and on the wire', async (t) => {
  t.ok(new AllowList(['192.0.2.7']).permits('::ffff:192.0.2.7'), 'as a dual-stack socket shows it')
  t.ok(new AllowList(['192.0.2.0/24']).permits('::ffff:c000:207'))
  t.ok(new AllowList(['::ffff:192.0.2.7']).permits('192.0.2.7'))
  t.ok(new AllowList(['::ffff:192.0.2.0/120']).permits('192.0.2.200'))
  t.notOk(new AllowList(['::ffff:192.0.2.0/120']).permits('192.0.3.1'))
  t.notOk(new AllowList(['::/0']).permits('192.0.2.7'), 'all of IPv6 is not IPv4')
  t.notOk(new AllowList(['0.0.0.0/0']).permits('2001:db8::7'), 'nor the other way round')
})

t.test('LS-9 the zone of a link-local peer is no part of its address; an entry must not name one', async (t) => {
  t.ok(new AllowList(['fe80::1']).permits('fe80::1%eth0'))
  t.ok(new AllowList(['fe80::/10']).permits('fe80::1%2'))
  t.notOk(new AllowList(['fe80::1']).permits('fe80::2%eth0'))
  for (const entry of ['fe80::1%eth0', 'fe80::%eth0/10'])
    t.throws(() => new AllowList([entry]), { code: 'BAD_REQUEST' }, `${entry} would hold for every interface`)
})

t.test("LS-9 an entry that is no address or range is refused by name, and is the operator's to mend", async (t) => {
  const bad = [
    '',
    ' ',
    'localhost',
    '10.0.0',
    '10.1',
    '1',
    '0x0a000001',
    '167772161',
    '010.0.0.1',
    '10.0.0.1/33',
    '10.0.0.1/-1',
    '10.0.0.1/',
    '10.0.0.1/8/8',
    '10.0.0.256',
    ' 10.0.0.1',
    '10.0.0.1 ',
    '10.0.0.1/ 8',
    '10.0.0.*',
    '10.0.0.1-10.0.0.9',
    '2001:db8::/129',
    '2001:db8:::1',
    '2001:db8',
    '[::1]',
    '::1/x',
    '10.0.0.1:443',
    '*',
    '10.0.0.0/255.0.0.0',
    '10.0.0.1/8.0',
    '10.0.0.1/1e1',
    '10.0.0.1/0x8',
    '10.0.0.1\n',
  ]
  for (const entry of bad) {
    t.throws(
      () => new AllowList(['192.0.2.7', entry]),
      {
        code: 'BAD_REQUEST',
        party: 'self',
        message: `allow-list entry ${JSON.stringify(entry)} is no IP address or CIDR range`,
      },
      JSON.stringify(entry),
    )
  }
})

t.test('LS-9 nobody is permitted by an empty list, and no address by any list', async (t) => {
  t.notOk(new AllowList([]).permits('127.0.0.1'))
  const all = new AllowList(['0.0.0.0/0', '::/0'])
  for (const address of [undefined, '', 'localhost', '%eth0', '/run/ls.sock'])
    t.notOk(all.permits(address), String(address))
})

t.test('LS-9 the list agrees with the one of node for addresses and ranges of both families', async (t) => {
  const v4 = fc.ipV4().filter((address) => /^\d+(\.\d+){3}$/.test(address))
  const v6 = fc.ipV6().filter((address) => !address.includes('.') && !isMapped(address))
  const entry = fc.oneof(
    fc.record({ family: fc.constant<'ipv4'>('ipv4'), address: v4, bits: fc.integer({ min: 0, max: 32 }) }),
    fc.record({ family: fc.constant<'ipv6'>('ipv6'), address: v6, bits: fc.integer({ min: 0, max: 128 }) }),
  )
  const flip = fc.record({ entry: fc.nat(), bit: fc.nat({ max: 127 }) })
  fc.assert(
    fc.property(
      fc.array(entry, { minLength: 1, maxLength: 5 }),
      fc.array(flip, { maxLength: 10 }),
      (entries, flips) => {
        const list = new AllowList(entries.map(({ address, bits }) => `${address}/${bits}`))
        const models = { ipv4: new BlockList(), ipv6: new BlockList() }
        for (const { address, bits, family } of entries) models[family].addSubnet(address, bits, family)
        for (const { entry, bit } of flips) {
          // Addresses that differ from an entry in one bit are those at the edge of its range.
          const { address, family } = entries[entry % entries.length] ?? { address: '::1', family: 'ipv6' as const }
          const near = flipBit(address, family, bit)
          if (isMapped(near)) continue
          if (list.permits(near) !== models[family].check(near, family)) throw new Error(near)
        }
      },
    ),
    { numRuns: 300 },
  )
  t.pass()
})

function isMapped(address: string): boolean {
  return groupsOf(address).slice(0, 6).join() === [0, 0, 0, 0, 0, 0xffff].join()
}

function flipBit(address: string, family: 'ipv4' | 'ipv6', bit: number): string {
  if (family === 'ipv4') {
    const parts = address.split('.').map(Number)
    const index = (bit >> 3) % 4
    parts[index] = (parts[index] ?? 0) ^ (1 << (bit & 7))
    return parts.join('.')
  }
  const groups = groupsOf(address)
  const index = bit >> 4
  groups[index] = (groups[index] ?? 0) ^ (1 << (bit & 15))
  return groups.map((group) => group.toString(16)).join(':')
}

/** The eight groups of an IPv6 address; none of an IPv4 address. */
function groupsOf(address: string): number[] {
  if (!address.includes(':')) return []
  const { hostname } = new URL(`http://[${address}]/`)
  const [head = '', tail] = hostname.slice(1, -1).split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = new Array<string>(8 - left.length - right.length).fill('0')
  return [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16))
}
