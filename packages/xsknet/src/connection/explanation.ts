import type { ExplainedStep, Result } from './protocol.js'

/** What decides about a packet, by the names of docs/verdicts.md. */
const RULES: Readonly<Record<string, string>> = {
  tags_unreadable: 'The frame ends within its VLAN tags, or has more than two: it is left to the host.',
  unclaimed: 'No port claims it: it is left to the host.',
  port_mac: "It is for a port's MAC in the port's VLAN.",
  port_address: "It is for the uplink's MAC, and for an address of a port that has this MAC.",
  arp_target: "ARP asks for a port's address.",
  arp_sender: "An ARP reply to all speaks of a port's address.",
  nd_target: "Neighbour discovery asks for a port's address, or speaks of it to all.",
  flow: 'A flow matches it.',
  quoted_flow: 'It is an ICMP error, and a flow matches the answers to the packet that it quotes.',
  fragment: 'It is a later fragment, whose first one went to a port by a flow.',
  fragment_unknown: 'It is a later fragment, and nothing is known of the first one.',
  no_guard: 'The device that it came from does not belong to a port.',
  source_mac: "Its source is neither the port's MAC nor the uplink's.",
  tags_cut: 'It ends within its Ethernet header or its VLAN tags.',
  tags_too_many: 'It has more than two VLAN tags.',
  other_vlan: 'It is in another VLAN than the port.',
  inner_tag: 'It has a second VLAN tag, which the port may not send.',
  ethertype: 'It is neither ARP nor IP.',
  arp_cut: 'It ends within ARP.',
  arp_form: 'It is not ARP for IPv4 over Ethernet.',
  arp_operation: 'It is neither an ARP request nor a reply.',
  arp_mac: "ARP names another MAC as the sender's.",
  arp_address: "ARP names a sender that is not the port's address.",
  arp_probe: "An ARP probe asks for an address that is not the port's.",
  ipv4_header: 'It ends within its IPv4 header, or that contradicts itself.',
  ipv4_options: 'An IPv4 option reaches beyond the header, or is too short.',
  source_route: 'It has a source route, which the port may not send.',
  ipv6_header: 'It ends within its IPv6 header, or that is not one.',
  extension_headers: 'It ends within its extension headers, or there are too many or others behind a fragment header.',
  routing_header: 'It has a routing header, which the port may not send.',
  source_address: "Its source address is not the port's.",
  no_source_address: 'It has no source address, and is none of the messages that need none.',
  upper_cut: 'It ends before what has to be read behind its IP headers.',
  routers_protocol: 'It is of a protocol that routers speak, and the port may not.',
  routers_port: 'It is for a port of UDP where routers or DHCP clients listen, and the port may not send there.',
  routers_message: 'It is a message that routers send, and the port may not.',
  dhcp_fragment: 'It is for a DHCP server, and in fragments.',
  dhcp_cut: 'It is for a DHCP server, and ends too early.',
  dhcp_client: 'It is for a DHCP server, and is not a request of the port for itself.',
  nd_fragment: 'It is neighbour discovery in fragments.',
  nd_cut: 'It ends within a message of neighbour discovery.',
  nd_address: "Neighbour discovery speaks of an address that is not the port's.",
  nd_option: 'An option of neighbour discovery is empty, or reaches beyond the packet.',
  nd_link_address: "Neighbour discovery names a MAC that is not the port's.",
  nd_options: 'Neighbour discovery has more options than are read.',
  host_dhcp: "It is for a DHCP server, which would take a port with the uplink's MAC for the host.",
  host_arp: "It is ARP with the uplink's MAC, which the host speaks.",
  host_nd: "It is neighbour discovery with the uplink's MAC, which the host speaks.",
  host_fragment: "It is a fragment with the uplink's MAC.",
  host_port: "It has the uplink's MAC, and is for a port of UDP where routers, DHCP servers or DHCP clients listen.",
  host_message: "It has the uplink's MAC, and is IGMP, or a message of ICMP that is neither a question nor an answer.",
  host_source: "It has the uplink's MAC, and no address, a multicast or the broadcast address as its source.",
  no_flow: "It has the uplink's MAC, and the first flow that matches it, reversed, is not the port's.",
  flow_receives: "It has the uplink's MAC, and its flow gives no protocol, or not one destination address.",
  flow_vlan: "It has the uplink's MAC, is in another VLAN than the port, and its flow gives none.",
  tap_sends: 'It comes from a tap, which sends nothing.',
  too_long: 'It is longer than what its target takes.',
  no_port: "The port's slot is empty.",
  no_uplink: "The uplink's slot is empty.",
  no_chunk: "The client has posted no chunk for it in the port's BPF ring, or one that does not exist.",
  ring_length: 'It is longer than a frame in a BPF ring can be.',
  rate: 'It is more of its kind than the port may send to the uplink.',
  frame_rate: 'It is one frame more than the port may send.',
  bit_rate: 'It is more bits than the port may send.',
  to_target: "It asks for another port's address: to that port.",
  to_mac: "It is for another port's MAC: to that port.",
  to_address: "It is for the uplink's MAC, and for an address of another port that has this MAC: to that port.",
  to_uplink: 'It leaves by the uplink.',
}

type Explained = Result<'explainArrival'>['explanation']

/**
 * What the BPF programs decide about a packet, and why: the result of {@link Network.explain}. As a string it is a
 * report of several lines.
 */
export class Explanation {
  /** The uplink whose program decides, or that the port is on. */
  readonly uplink: string
  /** `'in'`: the packet arrives at the uplink. `'out'`: a port sends it. */
  readonly direction: 'in' | 'out'
  /** The number of the port that sends it; `null` for a packet that arrives. */
  readonly sender: number | null
  /** The bytes of the packet. */
  readonly length: number
  /**
   * What becomes of it. `'elsewhere'`: it is for none of this user's ports, and no more is told; other users' ports,
   * the host and drops on the way to them are not told apart.
   */
  readonly verdict: 'port' | 'host' | 'uplink' | 'dropped' | 'elsewhere'
  /**
   * The counter that such a packet moves, beside `seen`: `to_port`, `passed`, or the reason of a drop. `null` if it
   * goes elsewhere.
   */
  readonly counter: string | null
  /** What decided, by its name in docs/verdicts.md. `null` if it goes elsewhere. */
  readonly rule: string | null
  /** The port that it is for, also if it is dropped on the way there; `null` if it is for none. */
  readonly target: Explained['target']
  /** What was looked at, in this order. */
  readonly steps: readonly ExplainedStep[]

  /** @internal Called by `network.explain()`. */
  constructor(length: number, sender: number | null, { uplink, counter, rule, target, steps }: Explained) {
    this.uplink = uplink
    this.direction = sender === null ? 'in' : 'out'
    this.sender = sender
    this.length = length
    this.verdict = verdictOf(counter)
    this.counter = counter
    this.rule = rule
    this.target = target
    this.steps = steps
  }

  toString(): string {
    const { uplink, sender, length, counter, rule, steps } = this
    const way = sender === null ? `arrives at ${uplink}` : `sent by port ${sender} on ${uplink}`
    const lines = [`${way}, ${length} bytes: ${this.#outcome()}`]
    if (rule !== null) lines.push(`  rule     ${rule}: ${RULES[rule] ?? 'a rule of a newer daemon'}`)
    const program = sender === null ? 'the uplink program' : 'the guard'
    if (counter !== null) lines.push(`  counter  ${counter} of ${program}`)
    steps.forEach((step, at) => {
      lines.push(`  ${at === 0 ? 'steps' : '     '}    ${at + 1}. ${describe(step)}`)
    })
    return lines.join('\n')
  }

  #outcome(): string {
    switch (this.verdict) {
      case 'port':
        return `to ${this.#port()}`
      case 'host':
        return 'left to the host'
      case 'uplink':
        return `leaves by ${this.uplink}`
      case 'dropped':
        return `dropped as ${this.counter}${this.target ? `, on its way to ${this.#port()}` : ''}`
      case 'elsewhere':
        return 'not to a port of yours'
    }
  }

  #port(): string {
    if (!this.target || this.target.port === null) return "another user's port"
    const { port, name, queue, rings } = this.target
    const place = queue === null ? '' : `, queue ${queue}`
    const title = name === null ? '' : ` \`${name}\``
    return `port ${port}${title}${place}${rings === 'bpf' ? ', by its BPF ring' : ''}`
  }
}

function verdictOf(counter: string | null): Explanation['verdict'] {
  switch (counter) {
    case null:
      return 'elsewhere'
    case 'to_port':
    case 'to_ring':
      return 'port'
    case 'to_uplink':
      return 'uplink'
    case 'passed':
    case 'passed_fragment':
      return 'host'
    default:
      return 'dropped'
  }
}

function describe(step: ExplainedStep): string {
  switch (step.step) {
    case 'tags': {
      if (step.tags === 'cut') return `${vlanOf(step.vlan)}; it ends within its VLAN tags`
      if (step.tags === 'too-many') return `${vlanOf(step.vlan)}; it has more than two VLAN tags`
      return `${vlanOf(step.vlan)}, EtherType 0x${step.etherType.toString(16).padStart(4, '0')}`
    }
    case 'sender':
      return `source MAC: ${step.mac === 'own' ? '' : 'not '}the port's own; the port: ${vlanOf(step.vlan)}`
    case 'mac':
      return `destination MAC ${step.mac} (${vlanOf(step.vlan)}): ${portOf(step.port)}`
    case 'target':
      return `address ${step.address} that is asked for or spoken of: ${portOf(step.port)}`
    case 'destination':
      return `address ${step.address} that it is for, at the uplink's MAC: ${portOf(step.port)}`
    case 'source':
      return `source address ${step.address}: ${step.own ? "the port's" : "not the port's"}`
    case 'flow': {
      if (step.port === null) return 'flows: none matches'
      const text = step.flow === null ? '' : ` \`${step.flow}\``
      return `flows: the first that matches is${text} of ${portOf(step.port)}`
    }
    case 'quoted':
      return 'an ICMP error: the flow of the packet that it quotes is looked for'
    case 'fragment':
      return `a later fragment: the first one ${step.port === null ? 'is not known' : `went to ${portOf(step.port)}`}`
    case 'length':
      return `${step.length} bytes of at most ${step.most}`
    case 'rate': {
      const kind = kindOf(step)
      if (!step.limited || step.known) return `rate: not limited for ${step.known ? 'a known station' : kind}`
      return `rate of ${kind}: ${step.within ? 'within' : 'exceeded'}`
    }
  }
}

function kindOf({ kind, known }: Extract<ExplainedStep, { step: 'rate' }>): string {
  if (kind === 'frames' || kind === 'bits') return `all ${kind}`
  return kind === 'unicast' && known === false ? 'unicast to an unknown station' : kind
}

function vlanOf(vlan: number | string | null): string {
  return vlan === null ? 'untagged' : typeof vlan === 'number' ? `VLAN ${vlan}` : `an outer tag of ${vlan}`
}

function portOf(port: number | 'other' | null): string {
  return port === null ? 'of no port' : port === 'other' ? "another user's port" : `port ${port}`
}
