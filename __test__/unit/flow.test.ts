// Flows as objects: that the expression of an object means what the object says is judged by the crate that reads
// expressions for the daemon.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import type { Flow } from 'xsknet'
import { flowText, flowTexts } from '../../packages/xsknet/src/connection/flow.js'
import { rustExample } from '../helpers/lab.js'
import { Random } from '../helpers/programs/random.js'
import { root } from '../helpers/workspace.js'

/** What the crate reads in each expression: the fields of its flows, or `! ` and why it is none. */
function read(texts: readonly string[]): string[] {
  const input = texts.map((text) => `${text}\n`).join('')
  return execFileSync(rustExample('flows'), { input, encoding: 'utf8', maxBuffer: 2 ** 26 })
    .split('\n')
    .slice(0, -1)
}

/** Prefixes as they can be given, and as the crate writes them. */
const PREFIXES: Record<string, string> = {
  '192.0.2.1': '192.0.2.1/32',
  '192.0.2.1/32': '192.0.2.1/32',
  '192.0.2.0/24': '192.0.2.0/24',
  '255.255.255.254/31': '255.255.255.254/31',
  '128.0.0.0/1': '128.0.0.0/1',
  '0.0.0.0/0': '0.0.0.0/0',
  '2001:DB8:0::1': '2001:db8::1/128',
  '2001:db8::1/128': '2001:db8::1/128',
  '2001:db8::/32': '2001:db8::/32',
  '2001:db8:0:8000::/49': '2001:db8:0:8000::/49',
  'ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127': 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127',
  '::/0': '::/0',
  '::': '::/128',
  '::ffff:192.0.2.1': '::ffff:192.0.2.1/128',
  '1:0:0:2:0:0:0:3': '1:0:0:2::3/128',
}
const PORTS = [0, 53, 65_535, [0, 65_535], [1000, 2000], [53, 53]] as const
const PROTOCOLS = ['tcp', 'udp', 'sctp', 'icmp', 'icmp6', 0, 1, 2, 6, 17, 58, 132, 255] as const
const NUMBERS: Record<string, number> = { tcp: 6, udp: 17, sctp: 132, icmp: 1, icmp6: 58 }
const MACS = ['02:00:5e:10:00:01', 'FF:FF:FF:FF:FF:FF', '00:00:00:00:00:00']

/** Any fields, contradictions included. */
function random(chance: Random): Flow {
  const some = <T>(probability: number, from: readonly T[]) =>
    chance.chance(probability) ? chance.pick(from) : undefined
  return {
    destination: some(0.4, Object.keys(PREFIXES)),
    source: some(0.3, Object.keys(PREFIXES)),
    protocol: some(0.8, PROTOCOLS),
    destinationPort: some(0.25, PORTS),
    sourcePort: some(0.2, PORTS),
    icmpType: some(0.15, [0, 8, 128, 255]),
    vlan: some(0.4, [null, 1, 5, 4094]),
    etherType: some(0.2, [0x0800, 0x86dd, 0x0806, 0x88cc, 0x0600, 0xffff]),
    destinationMac: some(0.2, MACS),
  }
}

/** What an object says, as the crate would write it. */
function said(flow: Flow): string {
  const { protocol, icmpType } = flow
  const range = (ports: Flow['sourcePort']) =>
    ports === undefined ? undefined : [ports].flat().length === 1 ? `${ports}-${ports}` : [ports].flat().join('-')
  // These two names alone are of one IP version; a type of ICMP says that by itself.
  const versions: Record<string, number> = { icmp: 0x0800, icmp6: 0x86dd }
  const implied = icmpType === undefined ? versions[`${protocol}`] : undefined
  const fields = {
    destination: PREFIXES[flow.destination ?? ''],
    source: PREFIXES[flow.source ?? ''],
    protocol: NUMBERS[`${protocol}`] ?? protocol,
    destinationPort: range(flow.destinationPort),
    sourcePort: range(flow.sourcePort),
    icmpType,
    vlan: flow.vlan === null ? 'untagged' : flow.vlan,
    etherType: flow.etherType ?? implied,
    destinationMac: flow.destinationMac?.toLowerCase(),
  }
  return Object.entries(fields)
    .flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))
    .join(' ')
}

function isRefused(flow: Flow): boolean {
  try {
    flowText(flow)
    return false
  } catch {
    return true
  }
}

test('the expression of an object is one flow, with the fields of the object', (t) => {
  const chance = new Random(1)
  const flows = Array.from({ length: 20_000 }, () => random(chance)).filter((flow) => !isRefused(flow))
  t.true(flows.length > 5000, `${flows.length} have no contradiction`)
  const texts = flows.map((flow) => flowText(flow))
  const different = read(texts).flatMap((fields, n) =>
    fields === said(flows[n] as Flow) ? [] : [{ flow: flows[n], text: texts[n], fields }],
  )
  t.deepEqual(different.slice(0, 3), [])
  t.true(Math.max(...texts.map(({ length }) => length)) < 1024, 'no object is too long for a request')
})

test('an object is refused as a contradiction only where no packet matches, says the crate too', (t) => {
  const chance = new Random(2)
  const flows = Array.from({ length: 5000 }, () => random(chance)).filter(isRefused)
  t.true(flows.length > 1000)
  // Each field by itself, and all of them together: in brackets, because `icmp` implies a version, and with what ports
  // and ICMP types need, which an expression would add by itself.
  const parts = flows.map((flow) => {
    const { destinationPort, sourcePort, icmpType, protocol, vlan, ...others } = flow
    const number = NUMBERS[`${protocol}`] ?? protocol
    const hasPorts = [6, 17, 132].includes(Number(number))
    if ((destinationPort ?? sourcePort) !== undefined && !hasPorts) return undefined
    if (icmpType !== undefined && number !== 1 && number !== 58) return undefined
    const fields: Flow[] = Object.entries({ ...others, protocol }).flatMap(([name, value]) =>
      value === undefined ? [] : [{ [name]: value }],
    )
    if (icmpType !== undefined) fields.push({ protocol: number as number, icmpType })
    return fields.length === 0 ? undefined : fields.map((field) => `(${flowText(field)})`).join(' and ')
  })
  const texts = parts.filter((text) => text !== undefined)
  t.true(texts.length > 300, `${texts.length} are judged`)
  const wrong = read(texts).flatMap((fields, n) => (fields.startsWith('! ') ? [] : [{ text: texts[n], fields }]))
  t.deepEqual(wrong.slice(0, 3), [])
})

const examples: [flow: Flow, text: string][] = [
  [{ destination: '192.0.2.1' }, 'dst host 192.0.2.1'],
  [{ destination: '2001:db8::/32', source: '2001:db8::1' }, 'src host 2001:db8::1 and dst net 2001:db8::/32'],
  [{ protocol: 'udp', destinationPort: 53, destination: '192.0.2.1' }, 'dst host 192.0.2.1 and udp dst port 53'],
  [{ protocol: 6, sourcePort: [1, 9], destinationPort: [7, 7] }, 'tcp src portrange 1-9 and tcp dst port 7'],
  [{ protocol: 'sctp' }, 'sctp'],
  [{ protocol: 'icmp' }, 'icmp'],
  [{ protocol: 1 }, 'proto 1'],
  [{ protocol: 'icmp6', icmpType: 128 }, 'icmp6[icmp6type] = 128'],
  [{ protocol: 1, icmpType: 8, etherType: 0x0800 }, 'ether proto 0x0800 and icmp[icmptype] = 8'],
  [{ vlan: 5, protocol: 'tcp' }, 'vlan 5 and tcp'],
  [{ vlan: null, protocol: 'tcp' }, 'tcp and not vlan'],
  [{ vlan: null }, 'not vlan'],
  [{ etherType: 0x88cc, destinationMac: '01:80:C2:00:00:0e' }, 'ether dst 01:80:c2:00:00:0e and ether proto 0x88cc'],
  [{ protocol: 'udp', vlan: undefined }, 'udp'],
]

for (const [flow, text] of examples) {
  test(`${JSON.stringify(flow)} is \`${text}\``, (t) => {
    t.is(flowText(flow), text)
  })
}

test('the page’s objects have the expressions that it shows', (t) => {
  const page = readFileSync(`${root}docs/flows.md`, 'utf8').split('### Flows as objects')[1] ?? ''
  const literals = [...(page.split('```')[1]?.matchAll(/\{ protocol: .*? \}(?=,?$)/gm) ?? [])].map(
    ([literal]) => literal,
  )
  const flows = literals.map((literal) => runInNewContext(`(${literal})`) as Flow)
  const shown = [...page.matchAll(/^(?! |```)(.*)\n {2}= .*$/gm)].map(([, text]) => text)
  t.is(shown.length, 3)
  t.deepEqual(
    flows.map((flow) => flowText(flow)),
    shown,
  )
})

const refusals: [flow: unknown, field: string | undefined, why: RegExp][] = [
  [{}, undefined, /it is every packet: give it one of destination, source, protocol, .*destinationMac\.$/],
  [{ vlan: undefined }, undefined, /every packet/],
  [new Map(), undefined, /every packet/],
  [{ port: 53 }, 'port', /`port` is not a field of a flow/],
  [{ dstPort: 53, protocol: 'udp' }, 'dstPort', /`dstPort` is not a field of a flow/],
  [{ destinationport: 53 }, 'destinationport', /did you mean `destinationPort`\?/],
  [Object.create({ protokol: 'udp' }), 'protokol', /did you mean `protocol`\?/],
  [{ destination: 5 }, 'destination', /must be an address or a prefix.* Received 5$/],
  [{ destination: '' }, 'destination', /must be an address/],
  [{ destination: 'example.org' }, 'destination', /must be an address/],
  [{ destination: '192.0.2.1/' }, 'destination', /must be an address/],
  [{ destination: '192.0.2.1 or udp' }, 'destination', /must be an address/],
  [{ destination: '192.0.2.0/33' }, 'destination', /must be an address/],
  [{ source: '2001:db8::/129' }, 'source', /must be an address/],
  [{ source: 'fe80::1%eth0' }, 'source', /must be an address/],
  [{ source: '192.0.2.1\n' }, 'source', /must be an address/],
  [{ destination: '192.0.2.1/24' }, 'destination', /the network is 192\.0\.2\.0\/24\. Received '192\.0\.2\.1\/24'$/],
  [{ source: '2001:db8::1/64' }, 'source', /the network is 2001:db8::\/64/],
  [{ protocol: 'UDP' }, 'protocol', /must be tcp, udp, sctp, icmp, icmp6, or an integer from 0 to 255/],
  [{ protocol: 'constructor' }, 'protocol', /must be tcp/],
  [{ protocol: 256 }, 'protocol', /Received 256$/],
  [{ protocol: -1 }, 'protocol', /Received -1$/],
  [{ protocol: null }, 'protocol', /Received null$/],
  [{ protocol: 'udp', destinationPort: 65_536 }, 'destinationPort', /must be a port from 0 to 65535/],
  [{ protocol: 'udp', destinationPort: 1.5 }, 'destinationPort', /Received 1\.5$/],
  [{ protocol: 'udp', destinationPort: Number.NaN }, 'destinationPort', /Received NaN$/],
  [{ protocol: 'udp', destinationPort: '53' }, 'destinationPort', /Received '53'$/],
  [{ protocol: 'udp', sourcePort: [1] }, 'sourcePort', /the first and the last one of a range/],
  [{ protocol: 'udp', sourcePort: [1, 2, 3] }, 'sourcePort', /the first and the last one of a range/],
  [{ protocol: 'udp', sourcePort: [1, 65_536] }, 'sourcePort', /the first and the last one of a range/],
  [{ protocol: 'udp', sourcePort: [9, 1] }, 'sourcePort', /must begin with the lowest port/],
  [{ destinationPort: 53 }, 'destinationPort', /needs the protocol TCP .* Received protocol: undefined$/],
  [{ sourcePort: 53, protocol: 'icmp' }, 'sourcePort', /needs the protocol TCP .* Received protocol: 'icmp'$/],
  [{ icmpType: 8 }, 'icmpType', /needs the protocol ICMP/],
  [{ icmpType: 8, protocol: 'tcp' }, 'icmpType', /needs the protocol ICMP .* Received protocol: 'tcp'$/],
  [{ icmpType: 256, protocol: 'icmp' }, 'icmpType', /from 0 to 255/],
  [{ icmpType: '8', protocol: 'icmp' }, 'icmpType', /from 0 to 255/],
  [{ vlan: 0 }, 'vlan', /from 1 to 4094, or null for untagged frames\. Received 0$/],
  [{ vlan: 4095 }, 'vlan', /from 1 to 4094/],
  [{ vlan: 1.5 }, 'vlan', /from 1 to 4094/],
  [{ vlan: '5' }, 'vlan', /from 1 to 4094/],
  [{ etherType: 0x05ff }, 'etherType', /from 0x0600 to 0xffff/],
  [{ etherType: 0x10000 }, 'etherType', /from 0x0600 to 0xffff/],
  [{ etherType: 'ip' }, 'etherType', /from 0x0600 to 0xffff/],
  ...[0x8100, 0x88a8, 0x9100].map((etherType) => [{ etherType }, 'etherType', /use `vlan`/] as [Flow, string, RegExp]),
  ...[0x809b, 0x80f3].map((etherType) => [{ etherType }, 'etherType', /AppleTalk/] as [Flow, string, RegExp]),
  [{ destinationMac: '02:00:5e:10:00' }, 'destinationMac', /must be a MAC/],
  [{ destinationMac: 2 }, 'destinationMac', /must be a MAC/],
  [{ source: '192.0.2.1', destination: '2001:db8::1' }, 'destination', /is of IPv6, but `source` of IPv4/],
  [{ etherType: 0x0800, source: '2001:db8::1' }, 'source', /is of IPv6, but `etherType` of IPv4/],
  [{ etherType: 0x86dd, protocol: 'icmp' }, 'protocol', /is of IPv4, but `etherType` of IPv6/],
  [{ destination: '192.0.2.1', protocol: 'icmp6' }, 'protocol', /is of IPv6, but `destination` of IPv4/],
  [{ destination: '192.0.2.1', protocol: 58, icmpType: 128 }, 'protocol', /is of IPv6, but `destination` of IPv4/],
  [{ etherType: 0x0806, destination: '192.0.2.1' }, 'destination', /is of IPv4, but `etherType` of packets without IP/],
  [{ etherType: 0x88cc, protocol: 17 }, 'protocol', /needs IP, which `etherType` is not/],
]

for (const [flow, field, why] of refusals) {
  test(`refused: ${inspect(flow)} ${why}`, (t) => {
    const error = t.throws(() => flowTexts(['udp', flow as Flow], 'flows'), { code: 'ERR_XSKNET_FLOW_INVALID' })
    const { message, details } = error as Error & { details: Record<string, unknown> }
    t.regex(message, /^the flow at index 1 cannot be claimed: /)
    t.regex(message, why)
    t.deepEqual(details, { flow, index: 1, ...(field !== undefined && { field }) })
  })
}

test('expressions stay as they are, also those that are not valid', (t) => {
  t.deepEqual(flowTexts(['udp', '', 'no', { protocol: 'tcp' }], 'flows'), ['udp', '', 'no', 'tcp'])
  t.deepEqual(flowTexts([], 'flows'), [])
})

test('what is neither an expression nor an object is named', (t) => {
  for (const wrong of [5, null, undefined, true, ['udp'], () => {}]) {
    t.throws(() => flowTexts(['udp', wrong as unknown as Flow], 'options.flows'), {
      code: 'ERR_INVALID_ARG_TYPE',
      message: /"options\.flows\.1" property must be a filter expression of type string or an object/,
    })
  }
  // The schema refuses these.
  for (const wrong of ['udp', 5, null, Array(257).fill({})]) t.is(flowTexts(wrong as never, 'flows'), wrong as never)
})
