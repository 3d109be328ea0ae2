import type { Test } from 'tap'
import { withstand } from '../support/attack.ts'
import { DIALLED_FAKE, type FakeBanks } from '../support/fake-banks.ts'
import type { FakeXchange } from '../support/fake-peers.ts'

export interface BankAttack {
  readonly title: string
  /** Sends what is wrong; LS ends the socket. */
  readonly send: (fake: FakeXchange, initKx: Buffer) => void | Promise<void>
  readonly code: 'FRAME_INVALID' | 'KX_FAILED'
  /** 1006: LS ended it without a close frame, because the WebSocket itself was broken. */
  readonly closeCodes: readonly number[]
  readonly says: RegExp
}

export const POLICY = { code: 'FRAME_INVALID', closeCodes: [4400] } as const
export const KX = { code: 'KX_FAILED', closeCodes: [4401] } as const
export const WEBSOCKET = { code: 'FRAME_INVALID', closeCodes: [1002, 1006, 1008, 1009] } as const

/** A fake bank attacks LS: the socket ends, the log says why, and the others are left alone. */
export async function strikeLs(
  t: Test,
  stage: FakeBanks,
  bank: string,
  attack: BankAttack,
  isKeyed: boolean,
): Promise<void> {
  const { ls } = stage
  await withstand(t, stage, '058', async () => {
    const fake = isKeyed ? await stage.keyedAsBank(bank) : stage.asBank(bank, await stage.openAsBank(bank))
    const mark = ls.log.mark
    const initKx = isKeyed ? Buffer.alloc(0) : await fake.socket.receive()
    await attack.send(fake, initKx)
    const { code } = await fake.socket.closed
    t.ok(attack.closeCodes.includes(code), `LS ended the socket with ${code}`)
    const line = await ls.log.until({ bankCode: bank, code: attack.code, to: 'idle' }, { mark })
    t.match(line.msg, attack.says, 'and the log says why')
    if (bank === DIALLED_FAKE) await stage.keyedAsBank(bank)
  })
}
