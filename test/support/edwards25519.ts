/** Just enough of edwards25519 (RFC 8032, section 5.1) to compute points of small order. Slow and not constant in time. */
export const FIELD_PRIME = 2n ** 255n - 19n
const GROUP_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n

interface Point {
  readonly x: bigint
  readonly y: bigint
}

const mod = (value: bigint) => ((value % FIELD_PRIME) + FIELD_PRIME) % FIELD_PRIME

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  for (let square = mod(base), rest = exponent; rest > 0n; rest >>= 1n, square = mod(square * square)) {
    if (rest & 1n) result = mod(result * square)
  }
  return result
}

const inverse = (value: bigint) => power(value, FIELD_PRIME - 2n)
const D = mod(-121665n * inverse(121666n))
const SQRT_OF_MINUS_ONE = power(2n, (FIELD_PRIME - 1n) / 4n)

function add(a: Point, b: Point): Point {
  const product = mod(D * a.x * b.x * a.y * b.y)
  return {
    x: mod((a.x * b.y + b.x * a.y) * inverse(1n + product)),
    y: mod((a.y * b.y + a.x * b.x) * inverse(1n - product)),
  }
}

function multiply(point: Point, factor: bigint): Point {
  let result: Point = { x: 0n, y: 1n }
  for (let doubled = point, rest = factor; rest > 0n; rest >>= 1n, doubled = add(doubled, doubled)) {
    if (rest & 1n) result = add(result, doubled)
  }
  return result
}

/** The point with this y, or undefined where the curve has none. */
function pointOf(y: bigint): Point | undefined {
  const xSquared = mod((y * y - 1n) * inverse(D * y * y + 1n))
  const root = power(xSquared, (FIELD_PRIME + 3n) / 8n)
  for (const x of [root, mod(root * SQRT_OF_MINUS_ONE)]) if (mod(x * x) === xSquared) return { x, y }
  return undefined
}

/** 32 bytes: y little endian, with the sign of x in the highest bit. `y` need not be reduced. */
export function encodePoint(y: bigint, sign: bigint): Buffer {
  const hex = (y | (sign << 255n)).toString(16).padStart(64, '0')
  return Buffer.from(hex, 'hex').reverse()
}

/** The 8 points whose order divides 8, encoded. */
export function smallOrderPoints(): Buffer[] {
  for (let y = 2n; ; y++) {
    const point = pointOf(y)
    if (point === undefined) continue
    const torsion = multiply(point, GROUP_ORDER)
    const encodings = new Map<string, Buffer>()
    for (let factor = 0n; factor < 8n; factor++) {
      const multiple = multiply(torsion, factor)
      const encoded = encodePoint(multiple.y, multiple.x & 1n)
      encodings.set(encoded.toString('hex'), encoded)
    }
    if (encodings.size === 8) return [...encodings.values()]
  }
}
