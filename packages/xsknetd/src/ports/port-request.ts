/**
 * Checks and completes requests for ports: the daemon sets the defaults, so that what the policy counts is what is
 * built.
 *
 * @module
 */
import { XsknetError } from 'xsknet'
import type { PinnedPortRequest, PortRequest } from 'xsknet/protocol'
import { parseHostAddress } from '../policy/address.js'
import { parseGroups } from '../policy/group.js'
import {
  BPF_RING_BYTES,
  DEFAULT_FRAME_SIZE,
  DEFAULT_QUEUES,
  DEFAULT_RING_SIZE,
  defaultFrames,
  isVlanId,
  MAX_VLAN,
  MIN_VLAN,
} from '../policy/limits.js'
import type { RequestedPort } from '../policy/policy.js'

/** The sizes of a port with a UMEM of its own. */
export interface PortSizes {
  readonly queues: number
  /** Slots of each ring. */
  readonly ringSize: number
  /** Chunks of each queue's UMEM. */
  readonly frames: number
  /** Bytes of a chunk. */
  readonly frameSize: number
}

/** With huge pages, the UMEM fills its last page, even if ordinary pages are used instead. */
export function sizesOf(request: PortRequest, hugePageBytes: () => number): PortSizes {
  const { queues = DEFAULT_QUEUES, ringSize = DEFAULT_RING_SIZE, frameSize = DEFAULT_FRAME_SIZE } = request
  const { frames = defaultFrames(ringSize), hugePages = 'never' } = request
  if (hugePages === 'never') return { queues, ringSize, frames, frameSize }
  const step = Math.max(1, hugePageBytes() / Math.max(1, frameSize))
  return { queues, ringSize, frames: Math.ceil(frames / step) * step, frameSize }
}

/** Bytes of the UMEMs and BPF rings of a port. */
export function memoryOf({ queues, frames, frameSize }: PortSizes, bpfRings: boolean): number {
  return queues * (frames * frameSize + (bpfRings ? BPF_RING_BYTES : 0))
}

/** Options that are determined by the UMEM that a port shares. */
const UMEM_OPTIONS = ['frames', 'frameSize', 'headroom', 'hugePages', 'multiBuffer', 'zeroCopy'] as const

/**
 * The sizes of a port that shares the UMEM of port `first`.
 *
 * @throws {XsknetError} `ERR_XSKNET_NOT_SUPPORTED` or `ERR_XSKNET_LAYOUT_INVALID`.
 */
export function sharedSizesOf(request: PortRequest, first: number): Pick<PortSizes, 'queues' | 'ringSize'> {
  const { queues = DEFAULT_QUEUES, ringSize = DEFAULT_RING_SIZE } = request
  if (queues !== 1) {
    throw new XsknetError(
      'ERR_XSKNET_NOT_SUPPORTED',
      `a port that shares the UMEM of another port cannot have ${queues} queues`,
      { hint: 'Open several ports with one queue each.', details: { queues, umemOf: first } },
    )
  }
  if (request.rings === 'bpf') {
    throw new XsknetError(
      'ERR_XSKNET_NOT_SUPPORTED',
      'a port that shares the UMEM of another port cannot have BPF rings',
      { hint: "Omit `rings`, or use 'auto' or 'xsk'.", details: { rings: request.rings, umemOf: first } },
    )
  }
  const options = UMEM_OPTIONS.filter((option) => request[option] !== undefined)
  if (options.length > 0) {
    throw new XsknetError(
      'ERR_XSKNET_LAYOUT_INVALID',
      `a port that shares the UMEM of port ${first} cannot set ${options.join(', ')}: the UMEM determines it`,
      { hint: `Remove ${options.join(', ')} from the request.`, details: { umemOf: first, options } },
    )
  }
  return { queues, ringSize }
}

/** Features of a request that use host resources other than memory; BPF rings depend on the policy, too. */
export function featuresOf({
  busyPoll,
  hugePages = 'never',
  tap,
}: PortRequest): Pick<RequestedPort, 'busyPoll' | 'hugePages' | 'tap' | 'promiscuous'> {
  return {
    busyPoll: busyPoll !== undefined,
    hugePages: hugePages !== 'never',
    ...(tap && { tap: true, ...(tap.promiscuous && { promiscuous: true }) }),
  }
}

/**
 * What the policy has to know of a request.
 *
 * @throws {XsknetError} `ERR_XSKNET_NOT_SUPPORTED`, `ERR_XSKNET_ADDRESS_MISSING`, `ERR_XSKNET_ADDRESS_INVALID`,
 * `ERR_XSKNET_VLAN_INVALID` or `ERR_XSKNET_GROUP_INVALID`.
 */
export function requestedPort(
  request: PinnedPortRequest,
  costs: Omit<RequestedPort, 'uplink' | 'addresses' | 'vlan'>,
): RequestedPort {
  const { uplink, addresses = [], flows = [], mac, vlan = null } = request
  if (addresses.length === 0 && flows.length === 0 && !costs.tap) {
    const message = `the request for a port on ${uplink} has neither an address nor flows`
    throw new XsknetError('ERR_XSKNET_ADDRESS_MISSING', message, {
      hint: 'A port needs an address, such as 192.0.2.10/24, or flows of the host, such as "udp dst port 53".',
      details: { uplink },
    })
  }
  if (mac === 'own' && addresses.length === 0) {
    throw new XsknetError('ERR_XSKNET_NOT_SUPPORTED', 'a port without addresses has no MAC of its own', {
      hint: "Omit `mac`, or use 'uplink'.",
      details: { mac },
    })
  }
  if (vlan !== null && !isVlanId(vlan)) {
    throw new XsknetError('ERR_XSKNET_VLAN_INVALID', `invalid VLAN ID ${vlan}`, {
      hint: `VLAN IDs are ${MIN_VLAN} to ${MAX_VLAN}; omit \`vlan\` for untagged frames.`,
      details: { vlan },
    })
  }
  const groups = parseGroups(request.groups ?? [])
  const joined = groups.length > 0 && { groups }
  // Without addresses it has nothing but flows, which need grants of their own.
  const shared = mac === 'uplink' && addresses.length > 0 && { uplinkMac: true }
  return { uplink, addresses: addresses.map(parseHostAddress), vlan, ...shared, ...joined, ...costs }
}

/** The addresses of a port, without prefix lengths. */
export function ipsOf({ addresses }: RequestedPort): string[] {
  return addresses.map(({ ip }) => ip)
}
