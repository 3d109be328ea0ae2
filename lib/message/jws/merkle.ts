import { sha256 } from './message.ts'

/** RFC 9162 section 2.1.1. */
const NODE_PREFIX = 0x01
export const HASH_BYTES = 32

/** Hashes are SHA-256 as 32 characters of latin1. */
export interface MerkleTree {
  readonly root: string
  /** The audit path of a leaf, from the leaf up, hashes one after the other. */
  pathOf(index: number): string
}

const scratch = Buffer.alloc(1 + 2 * HASH_BYTES, NODE_PREFIX)

function nodeHash(left: string, right: string): string {
  scratch.write(left, 1, 'latin1')
  scratch.write(right, 1 + HASH_BYTES, 'latin1')
  return sha256(scratch)
}

/**
 * The tree of RFC 9162 section 2.1 over leaf hashes, one or more. Built from below: a node without a neighbour goes up
 * as it is, which gives the same tree as the recursive definition.
 */
export function merkleTree(leaves: readonly string[]): MerkleTree {
  const levels: (readonly string[])[] = [leaves]
  let level = leaves
  while (level.length > 1) {
    const above: string[] = []
    for (let index = 0; index + 1 < level.length; index += 2)
      above.push(nodeHash(level[index] as string, level[index + 1] as string))
    if (level.length % 2 === 1) above.push(level[level.length - 1] as string)
    levels.push(above)
    level = above
  }
  return {
    root: level[0] as string,
    pathOf: (index) => {
      let path = ''
      let position = index
      for (let depth = 0; depth < levels.length - 1; depth++) {
        path += levels[depth]?.[position ^ 1] ?? ''
        position >>>= 1
      }
      return path
    },
  }
}

/** How many hashes the audit path of this leaf has. */
export function pathLength(index: number, size: number): number {
  let length = 0
  let position = index
  for (let last = size - 1; last > 0; last >>>= 1) {
    if (position < last || position % 2 === 1) length++
    position >>>= 1
  }
  return length
}

/**
 * The root that leaf and path make (RFC 9162 section 2.1.3.2), or undefined where the path does not have the length
 * that index and size ask for.
 */
export function rootOf(leaf: string, index: number, size: number, path: string): string | undefined {
  if (index >= size || path.length !== pathLength(index, size) * HASH_BYTES) return undefined
  let root = leaf
  let position = index
  let offset = 0
  for (let last = size - 1; last > 0; last >>>= 1) {
    const isRight = position % 2 === 1
    if (isRight || position < last) {
      const sibling = path.slice(offset, offset + HASH_BYTES)
      root = isRight ? nodeHash(sibling, root) : nodeHash(root, sibling)
      offset += HASH_BYTES
    }
    position >>>= 1
  }
  return root
}
