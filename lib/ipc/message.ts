/** One message of the protocol: a map with string keys. */
export type Message = Record<string, unknown>
