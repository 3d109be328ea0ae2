import { networkInterfaces } from 'node:os'
import t, { type Test } from 'tap'
import { withstand } from '../support/attack.ts'
import { testBed } from '../support/daemons.ts'
import { askHttps, dialPeer, TurnedAway } from '../support/fake-peers.ts'
import type { LogCapture } from '../support/log-capture.ts'
import type { TestNode } from '../support/pki.ts'

const hasIpv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === '::1'),
)
/** Takes IPv4 peers too, which then have IPv4-mapped addresses. */
const ANY_HOST = hasIpv6 ? '::' : '0.0.0.0'
const mapped = (address: string) => (hasIpv6 ? `::ffff:${address}` : address)

t.test('LS-9 the address decides before anything else, in IPv4, IPv6 and IPv4-mapped form', async (t) => {
  const bed = await testBed(t)
  const allow = ['127.0.0.1', '127.0.0.8/30', '::ffff:127.0.0.16/124']
  const defenders = await bed.startAll({
    ls: {
      config: { listen: { host: ANY_HOST, allow: ['127.0.0.1', '127.0.0.2'] } },
      banks: { '058': { allow } },
    },
    banks: { '044': { config: { listen: { host: ANY_HOST }, ls: { allow } } } },
  })
  const { ls, xchanges } = defenders
  const xchange = xchanges.get('044')
  if (xchange === undefined) throw new Error('044 was not started')

  async function from(address: string, port: number, node: TestNode, host = '127.0.0.1'): Promise<string> {
    try {
      const peer = await dialPeer({ host, port, node, localAddress: address })
      await peer.terminate()
      return 'open'
    } catch (error) {
      if (!(error instanceof TurnedAway)) throw error
      return error.status === undefined ? 'cut off' : `status ${error.status}`
    }
  }

  async function denied(t: Test, log: LogCapture, address: string, attempt: () => Promise<string>, how: string) {
    const mark = log.mark
    t.equal(await attempt(), how, `${address}: ${how}`)
    const line = await log.until({ code: 'IP_DENIED', audit: true }, { mark })
    t.match(line, { level: 40, address, msg: /allow/ }, 'the log names the address and the list')
  }

  for (const { name, port, log, node, bystander } of [
    { name: 'LS', port: ls.port, log: ls.log, node: bed.node('058'), bystander: '044' },
    { name: 'an xchange', port: xchange.port, log: xchange.log, node: bed.node('lsd'), bystander: '058' },
  ]) {
    t.test(`LS-9 ${name} cuts off addresses that are on no list, whatever their certificate`, async (t) => {
      await withstand(t, defenders, bystander, async () => {
        for (const address of ['127.0.0.3', '127.0.0.12', '127.0.0.32'])
          await denied(t, log, mapped(address), () => from(address, port, node), 'cut off')
        if (hasIpv6) await denied(t, log, '::1', () => from('::1', port, node, '::1'), 'cut off')
      })
    })

    t.test(`LS-9 ${name} lets in what its ranges hold`, async (t) => {
      await withstand(t, defenders, bystander, async () => {
        for (const address of ['127.0.0.1', '127.0.0.11', '127.0.0.31'])
          t.equal(await from(address, port, node), 'open', `${address} may open a channel`)
      })
    })
  }

  t.test("LS-9 an address of LS's own list may ask for health, not be a bank", async (t) => {
    await withstand(t, defenders, '044', async () => {
      const dial = { port: ls.port, node: bed.node('058'), localAddress: '127.0.0.2' }
      t.equal((await askHttps(dial)).status, 200)
      const attempt = () => from('127.0.0.2', ls.port, bed.node('058'))
      await denied(t, ls.log, mapped('127.0.0.2'), attempt, 'status 403')
    })
  })

  t.test('a flood from a forbidden address does not flood the log', async (t) => {
    await withstand(t, defenders, '044', async () => {
      const mark = ls.log.mark
      const tries = Array.from({ length: 100 }, () => from('127.0.0.3', ls.port, bed.node('058')))
      t.ok((await Promise.all(tries)).every((how) => how === 'cut off'))
      t.ok(ls.log.all({ code: 'IP_DENIED' }, mark).length <= 40, 'ten lines a second, however many tries')
      const { daemon } = (await ls.admin('status')) as { daemon: { refusals: Record<string, number> } }
      t.ok((daemon.refusals.IP_DENIED ?? 0) >= 100, 'and every try is counted')
    })
  })
})
