export { identityKind, type KeyKind, type KeyKindName } from './key-kind.ts'
export { KeyRing, type RingKey, type RotationStep } from './key-ring.ts'
export type { KeyFacts, KeyState } from './manifest.ts'
