import fc from 'fast-check'
import t from 'tap'
import { KeyIndex, type Place } from '../../lib/xchange/key-index.ts'

const SEED = Buffer.from('0102030405060708', 'hex')

t.test('it knows what was added, where it was moved to, and not what was removed', async (t) => {
  const key = fc.nat({ max: 40 }).map((number) => `key-${number}`)
  const place = fc.record({ high: fc.nat({ max: 3 }), low: fc.integer({ min: 1, max: 4 }) })
  const step = fc.record({ act: fc.constantFrom('add', 'add', 'move', 'remove'), key, place, to: place })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const index = new KeyIndex(SEED)
      const model = new Map<string, string[]>()
      for (const { act, key, place, to } of steps) {
        const hash = index.hashOf(key)
        const known = model.get(key) ?? []
        const at = known.indexOf(textOf(place))
        model.set(key, known)
        if (act === 'add') {
          index.add(hash, place)
          known.push(textOf(place))
        } else if (act === 'move') {
          if (index.move(hash, place, to) !== at >= 0) return false
          if (at >= 0) known[at] = textOf(to)
        } else {
          if (index.remove(hash, place) !== at >= 0) return false
          if (at >= 0) known.splice(at, 1)
        }
      }
      const total = [...model.values()].reduce((sum, places) => sum + places.length, 0)
      return (
        index.size === total &&
        [...model].every(([key, places]) => {
          const found = index.placesOf(index.hashOf(key)).map(textOf)
          return found.sort().join() === places.sort().join()
        })
      )
    }),
    { numRuns: 500 },
  )
  t.pass('as a plain map does')
})

t.test('a hundred thousand keys, each with a hash of its own', async (t) => {
  const index = new KeyIndex()
  const hashes = new Set<string>()
  for (let number = 0; number < 100_000; number++) {
    const hash = index.hashOf(`key-${number}`)
    hashes.add(`${hash.a} ${hash.b}`)
    index.add(hash, { high: 1, low: number })
  }
  t.same([index.size, hashes.size], [100_000, 100_000])
  let wrong = 0
  for (let number = 0; number < 100_000; number++) {
    const [place] = index.placesOf(index.hashOf(`key-${number}`))
    if (place?.low !== number) wrong++
  }
  t.equal(wrong, 0)
  t.same(index.placesOf(index.hashOf('another')), [])
})

t.test('nobody can tell the hash of a key without the seed', async (t) => {
  t.notSame(new KeyIndex().hashOf('key'), new KeyIndex().hashOf('key'))
  t.same(new KeyIndex(SEED).hashOf('key'), new KeyIndex(SEED).hashOf('key'))
})

function textOf({ high, low }: Place): string {
  return `${high}/${low}`
}
