import { ByteWriter } from './byte-writer.ts'

/** What the one signature of a batch covers. */
export interface TreeHead {
  readonly party: string
  readonly keyId: string
  /** When the batch was signed, Unix ms: the time of each of its messages. */
  readonly timeMs: number
  /** Messages in the batch. */
  readonly size: number
  /** SHA-256 as 32 characters of latin1. */
  readonly root: string
}

const LABEL = 'LS-TREE-1'
const writer = new ByteWriter()

/** The signed bytes; a view that the next call overwrites. */
export function treeHeadBytes(head: TreeHead): Buffer {
  writer.rewind(0)
  writer.latin1(LABEL)
  writer.text16(head.party)
  writer.text16(head.keyId)
  writer.u64(head.timeMs)
  writer.u32(head.size)
  writer.latin1(head.root)
  return writer.view()
}
