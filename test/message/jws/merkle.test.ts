import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { merkleTree, pathLength, rootOf } from '../../../lib/message/jws/merkle.ts'
import { auditPath, leafHash, treeRoot } from '../../support/message-reference.ts'

const leavesOf = (size: number) => Array.from({ length: size }, (_, index) => leafHash(Buffer.from(`leaf ${index}`)))
const latin1 = (bytes: Buffer) => bytes.toString('latin1')

t.test('BEY-6 RFC 9162: the tree and its paths are those of the recursive definition', async (t) => {
  for (let size = 1; size <= 70; size++) {
    const leaves = leavesOf(size)
    const tree = merkleTree(leaves.map(latin1))
    const isSame = leaves.every((leaf, index) => {
      const path = latin1(Buffer.concat(auditPath(index, leaves)))
      return (
        tree.pathOf(index) === path &&
        pathLength(index, size) * 32 === path.length &&
        rootOf(latin1(leaf), index, size, path) === tree.root
      )
    })
    t.ok(isSame && tree.root === latin1(treeRoot(leaves)), `${size} leaves`)
  }
})

t.test('BEY-6 no other leaf, index, size or path leads to the root', async (t) => {
  const property = fc.property(
    fc.integer({ min: 1, max: 40 }),
    fc.nat(),
    fc.nat(),
    fc.nat(),
    (size, pick, other, flip) => {
      const index = pick % size
      const leaves = leavesOf(size).map(latin1)
      const { root, pathOf } = merkleTree(leaves)
      const leaf = leaves[index] ?? ''
      const path = pathOf(index)
      const wrongIndex = other % (size + 3)
      if (wrongIndex !== index && rootOf(leaf, wrongIndex, size, path) === root) return false
      const strange = latin1(createHash('sha256').update(leaf, 'latin1').digest())
      if (rootOf(strange, index, size, path) === root) return false
      if (path === '') return true
      const at = flip % path.length
      const changed = path.slice(0, at) + String.fromCharCode(path.charCodeAt(at) ^ 1) + path.slice(at + 1)
      return (
        rootOf(leaf, index, size, changed) !== root &&
        rootOf(leaf, index, size, path.slice(32)) === undefined &&
        rootOf(leaf, index, size, path.slice(0, -32)) === undefined &&
        rootOf(leaf, index, size, path.slice(1)) === undefined &&
        rootOf(leaf, index, size, path + path.slice(0, 32)) === undefined
      )
    },
  )
  t.doesNotThrow(() => fc.assert(property))
})

t.test('BEY-6 the size is not all in the path, so it is signed with the root', async (t) => {
  const leaves = leavesOf(3).map(latin1)
  const { root, pathOf } = merkleTree(leaves)
  t.equal(rootOf(leaves[0] ?? '', 0, 4, pathOf(0)), root, 'a tree of 4 has the same path here')
})

t.test('BEY-6 an inner node is no leaf: its bytes begin with 1, those of a message with 0', async (t) => {
  const leaves = leavesOf(4)
  const [a, b, c, d] = leaves.map(latin1) as [string, string, string, string]
  const { root } = merkleTree([a, b, c, d])
  const inner = latin1(treeRoot(leaves.slice(0, 2)))
  const right = latin1(treeRoot(leaves.slice(2)))
  t.equal(rootOf(inner, 0, 2, right), root, 'whoever hashes a node without its prefix could pass it off')
  const asMessage = latin1(leafHash(Buffer.concat(leaves.slice(0, 2))))
  t.not(rootOf(asMessage, 0, 2, right), root, 'as a message it has another hash')
})

t.test('BEY-6 an index beyond the size, and a size of nothing', async (t) => {
  const leaf = latin1(leavesOf(1)[0] ?? Buffer.alloc(0))
  t.equal(rootOf(leaf, 0, 1, ''), leaf, 'a batch of one is its leaf')
  t.equal(rootOf(leaf, 1, 1, ''), undefined)
  t.equal(rootOf(leaf, 0, 0, ''), undefined)
})
