import t from 'tap'
import { tryFlippedBits } from './flip-trial.ts'

t.test('a flipped bit in the file of a store with checksums is found and never served', (t) => tryFlippedBits(t))
