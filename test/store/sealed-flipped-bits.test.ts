import { randomBytes } from 'node:crypto'
import t from 'tap'
import { tryFlippedBits } from './flip-trial.ts'

t.test('BEY-2 a flipped bit in the file of a sealed store is found and never served', (t) =>
  tryFlippedBits(t, randomBytes(32).toString('hex')),
)
