import { readFileSync, statSync } from 'node:fs'
import { type Explanation, type Network, XsknetError } from 'xsknet'
import { MAX_EXPLAINED, MIN_EXPLAINED } from 'xsknet/protocol'
import { type CapturedPacket, packetsOf } from './capture.js'

/** Where the packets come from: an uplink that they arrive at, or a port that sends them, by number or name. */
export type Origin = { uplink: string } | { port: string } | undefined

/** An explanation of a packet of a file. */
export interface ExplainedPacket {
  /** Its position in the file, counted from 1. */
  readonly packet: number
  /** Its bytes on the wire. Where the capture has fewer, the explanation is that of a packet cut there. */
  readonly wireLength: number
  /** `null` for a packet that is shorter or longer than what can be explained. */
  readonly explanation: Explanation | null
}

/** The longest capture file, in bytes. */
const MAX_FILE = 64 * 2 ** 20

/**
 * The packet that a word is, in hexadecimal digits, which may be grouped by spaces, colons or dashes; `undefined` for
 * the name of a file.
 *
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID` for digits that are no packet.
 */
export function packetOf(word: string): Uint8Array | undefined {
  const digits = word.replace(/^0x/i, '').replace(/[\s:-]/g, '')
  if (!/^[0-9a-f]+$/i.test(digits)) return undefined
  const length = digits.length / 2
  if (Number.isInteger(length) && length >= MIN_EXPLAINED && length <= MAX_EXPLAINED) return Buffer.from(digits, 'hex')
  if (isFile(word)) return undefined
  throw invalid(`${digits.length} hexadecimal digits are not a packet`, { digits: digits.length })
}

/** Explains a packet. */
export async function explainPacket(network: Network, packet: Uint8Array, origin: Origin): Promise<Explanation> {
  return network.explain(packet, await resolved(network, origin))
}

/** Explains the packets of a capture file, one after the other. */
export async function* explainFile(network: Network, file: string, origin: Origin): AsyncGenerator<ExplainedPacket> {
  const packets = packetsOf(contentOf(file), file)
  const from = await resolved(network, origin)
  for (const packet of packets) yield await explained(network, packet, from)
}

async function explained(
  network: Network,
  { number, bytes, length }: CapturedPacket,
  from: { uplink: string } | { port: number },
): Promise<ExplainedPacket> {
  const fits = bytes.length >= MIN_EXPLAINED && bytes.length <= MAX_EXPLAINED
  return { packet: number, wireLength: length, explanation: fits ? await network.explain(bytes, from) : null }
}

/** The report of a packet of a file. */
export function explainedReport({ packet, wireLength, explanation }: ExplainedPacket): string {
  if (explanation === null) {
    return `packet ${packet} is not explained: a packet has ${MIN_EXPLAINED} to ${MAX_EXPLAINED} bytes`
  }
  const cut = explanation.length < wireLength ? ` (cut by the capture: it had ${wireLength} bytes)` : ''
  return `packet ${packet}${cut} ${explanation}`
}

async function resolved(network: Network, origin: Origin): Promise<{ uplink: string } | { port: number }> {
  if (origin && 'uplink' in origin) return origin
  if (origin && /^\d{1,10}$/.test(origin.port)) return { port: Number(origin.port) }
  if (origin) {
    const named = (await network.ports()).filter(({ name }) => name === origin.port)
    const [only] = named
    if (only && named.length === 1) return { port: only.port }
    const why = only ? `${named.length} ports are named` : 'no port is named'
    throw invalid(`${why} \`${origin.port}\``, { name: origin.port }, '`xsknetd ports` lists the numbers of ports.')
  }
  const uplinks = await network.uplinks()
  const [uplink] = uplinks
  if (uplink && uplinks.length === 1) return { uplink: uplink.uplink }
  const names = uplinks.map(({ uplink }) => uplink)
  throw invalid(
    `there are ${names.length} uplinks that you may use: say where the packet arrives, or which port sends it`,
    { uplinks: names },
    'Add `--uplink <interface>` or `--port <port>`.',
  )
}

function contentOf(file: string): Uint8Array {
  try {
    const { size } = statSync(file)
    if (size > MAX_FILE) throw invalid(`${file} has ${size} bytes, the maximum is ${MAX_FILE}`, { file, size })
    return readFileSync(file)
  } catch (cause) {
    if (cause instanceof XsknetError) throw cause
    throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `cannot read ${file}: ${(cause as Error).message}`, {
      hint: 'Give a packet in hexadecimal digits, or a pcap or pcapng file.',
      details: { file },
      cause,
    })
  }
}

function isFile(name: string): boolean {
  // Such as ENAMETOOLONG.
  try {
    return statSync(name).isFile()
  } catch {
    return false
  }
}

function invalid(message: string, details: Record<string, unknown>, hint?: string): XsknetError {
  return new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', message, {
    hint: hint ?? `Give ${2 * MIN_EXPLAINED} to ${2 * MAX_EXPLAINED} hexadecimal digits, or a pcap or pcapng file.`,
    details,
  })
}
