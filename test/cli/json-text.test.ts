import t from 'tap'
import { jsonText, parsePayload, prettyJsonText } from '../../lib/cli/json-text.ts'

const HOSTILE = '\u001b[2J\n\u009b31m\u202eabc\u2028\u{e0001}'

t.test('JSON for the terminal holds nothing that commands it, and loses nothing', (t) => {
  for (const text of [jsonText({ [HOSTILE]: [HOSTILE] }), prettyJsonText({ [HOSTILE]: [HOSTILE] })]) {
    t.notMatch(text.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u)
    t.strictSame(JSON.parse(text), { [HOSTILE]: [HOSTILE] })
  }
  t.equal(prettyJsonText({ a: 1 }), '{\n  "a": 1\n}')
  t.end()
})

t.test('bytes and large integers are as in the human form of the sockets', (t) => {
  t.equal(jsonText({ bytes: Buffer.from('hi'), large: 2n ** 60n }), '{"bytes":"aGk=","large":"1152921504606846976"}')
  t.equal(jsonText(null), 'null')
  t.end()
})

t.test('a payload that would arrive as another one is refused', (t) => {
  t.strictSame(parsePayload(' {"amountMinor": 9007199254740991, "text": "9007199254740993", "rate": 1.5e3}'), {
    amountMinor: 9_007_199_254_740_991,
    text: '9007199254740993',
    rate: 1_500,
  })
  t.strictSame(parsePayload('"a \\" 9007199254740993"'), 'a " 9007199254740993')
  for (const text of ['', '{', '{a:1}', '9007199254740993', '[-9007199254740993]', '{"a":1e400}']) {
    t.throws(() => parsePayload(text), { code: 'BAD_REQUEST' }, text)
  }
  t.end()
})
