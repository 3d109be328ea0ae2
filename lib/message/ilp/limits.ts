/** A packet, its envelope included. With condition and all else it fits the meta of a record. */
export const MAX_PACKET_BYTES = 12_288

/** A fulfilment, and a condition: both are the size of a SHA-256. */
export const PROOF_BYTES = 32

/** As ILP has it. */
export const MAX_ADDRESS_CHARACTERS = 1_023

export const MAX_AMOUNT = 2n ** 64n - 1n

/** Until when a packet may be fulfilled at most: the end of the year 9999, the last that a version 4 packet can name. */
export const LATEST_EXPIRY_MS = 253_402_300_799_999
