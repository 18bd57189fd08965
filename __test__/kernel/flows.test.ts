// Flows, from the grant to the wire: a program without rights answers for one UDP port of the host.
import test, { type ExecutionContext } from 'ava'
import type { Flow, PortInfo } from 'xsknet'
import { Client } from '../helpers/client.js'
import { GRANT, NOBODY } from '../helpers/daemon.js'
import { CARD, HOST, type Lab, portPrefixes, REMOTE } from '../helpers/lab.js'
import { waitUntil } from '../helpers/program.js'
import { Scene } from '../helpers/scene.js'
import * as p from '../unit/headers/packets.js'

const FLOW = `udp dst port 53 and dst host ${HOST.v4}`
const BIND = `require('node:dgram').createSocket('udp4').on('error', ({ code }) => console.log(code) + process.exit())
  .bind(53, '${HOST.v4}', () => console.log('bound') + process.exit())`
const DIG = ['dig', `@${HOST.v4}`, 'some.example', 'A', '+short', '+time=1', '+tries=3', '+noedns']
const READ = `exec 3<>/dev/tcp/${HOST.v4}/5310; cat <&3`
const SERVER = `
const { createServer } = require('node:net')
createServer((socket) => socket.end('from the host')).listen(5310, '${HOST.v4}', () => console.log('listening'))
`

test.serial('a name server on the host’s own address answers, and all else goes to the host', async (t) => {
  const scene = await Scene.open(t, { config: `${GRANT}flows = ["udp dst port 53", "tcp dst port 5310"]\n` })
  const { lab, daemon } = scene
  const server = lab.host.spawn(process.execPath, '-e', SERVER)
  await server.waitFor(/listening/)

  const refused = ['udp dst port domain', 'udp dst port 53 or 54', `tcp dst port 5310 and dst host ${HOST.v4}`]
  const args = [CARD, HOST.v4, portPrefixes(0)[0], FLOW, ...refused]
  const client = Client.start(lab, '__test__/helpers/programs/name-server.ts', { socket: daemon.socket, args })
  await client.program.waitFor(/answering/)
  const told = client.program.lines
    .filter((line) => line.startsWith('refused '))
    .map((line) => JSON.parse(line.slice(8)))
  t.like(told[0], {
    code: 'ERR_XSKNET_FLOW_INVALID',
    details: { flow: 'udp dst port domain', index: 0, position: 13 },
  })
  t.is(told[1].code, 'ERR_XSKNET_NOT_PERMITTED')
  t.regex(told[1].hint, /flows = \["udp dst port 53", "tcp dst port 5310", "udp dst port 53 or 54"\]/)
  t.like(told[2], {
    code: 'ERR_XSKNET_FLOW_OF_HOST',
    details: { protocol: 'TCP', address: HOST.v4, port: 5310, process: null },
  })

  await assertServed(t, lab)
  await assertReleased(t, lab, client)
  await server.kill()
  await scene.end(t)
})

test.serial('without an address of its own it answers on the host’s, and all else goes to the host', async (t) => {
  const grant = `[[grant]]\nuser = ${NOBODY}\nuplinks = ["${CARD}"]\nflows = ["udp dst port 53"]\n`
  const scene = await Scene.open(t, { config: grant })
  const { lab, daemon } = scene
  const server = lab.host.spawn(process.execPath, '-e', SERVER)
  await server.waitFor(/listening/)

  const args = [CARD, HOST.v4, '', FLOW, 'udp dst port 54']
  const client = Client.start(lab, '__test__/helpers/programs/name-server.ts', { socket: daemon.socket, args })
  await client.program.waitFor(/answering/)
  const [refused = ''] = client.program.lines.filter((line) => line.startsWith('refused '))
  t.like(JSON.parse(refused.slice(8)), { code: 'ERR_XSKNET_NOT_PERMITTED' })
  const [{ uplinks }, ports] = await Promise.all([
    daemon.ask<{ uplinks: { mac: string }[] }>('status'),
    daemon.ask<{ mac: string; addresses: string[] }[]>('ports'),
  ])
  t.like(ports[0], { mac: uplinks[0]?.mac, addresses: [] })
  await assertServed(t, lab)

  const other = await scene.client()
  for (const [options, code, hint] of [
    [{}, 'ERR_XSKNET_ADDRESS_MISSING', /or flows/],
    [{ addresses: [], flows: [] }, 'ERR_XSKNET_ADDRESS_MISSING', /or flows/],
    [{ flows: ['udp dst port 54'] }, 'ERR_XSKNET_NOT_PERMITTED', /flows = \["udp dst port 53", "udp dst port 54"\]/],
    [{ addresses: portPrefixes(0) }, 'ERR_XSKNET_NOT_PERMITTED', /addresses = \["192\.0\.2\.10", "2001:db8::10"\]/],
  ] as const) {
    const error = await t.throwsAsync(other.ask({ do: 'open', uplink: CARD, ...options } as never))
    t.is((error as { code?: string }).code, code)
    t.regex((error as { hint?: string }).hint ?? '', hint)
  }
  await other.stop()
  await assertReleased(t, lab, client)
  await server.kill()
  await scene.end(t)
})

/** The port answers for names; ping, TCP and the rest are the host's, and no program of it gets the port. */
async function assertServed(t: ExecutionContext, lab: Lab): Promise<void> {
  for (let n = 0; n < 20; n++) t.is(await lab.remote.output(...DIG), '192.0.2.53\n')
  t.is(await lab.remote.output('bash', '-c', READ), 'from the host')
  t.deepEqual(await lab.remote.unanswered(HOST.v4, 20), [])
  t.is(await lab.host.output(process.execPath, '-e', BIND), 'EADDRINUSE\n')
}

/** Once the flow is released, the host has it again; then the client ends. */
async function assertReleased(t: ExecutionContext, lab: Lab, client: Client): Promise<void> {
  client.program.signal('SIGUSR2')
  await client.program.waitFor(/released/)
  t.is((await lab.remote.run(...DIG)).stdout.includes('192.0.2.53'), false)
  t.is(await lab.host.output(process.execPath, '-e', BIND), 'bound\n')
  t.deepEqual(await client.stop(), { code: 0, signal: null }, client.program.lines.join('\n'))
}

const UDP = 17
const BEYOND = '192.0.2.77'
const STRANGER = p.mac('02:00:5e:10:99:99')
const hex6 = (last: number) => p.hex(`20010db8${'0'.repeat(22)}${last.toString(16).padStart(2, '0')}`)

/** A datagram to a UDP port, and what is not as in the others. */
interface Datagram {
  from?: string
  to?: string
  /** Over IPv6, to an address that ends so. */
  to6?: number
  protocol?: number
  sourcePort?: number
  /** Behind the first port of the row. */
  port?: number
  vlan?: number
  mac?: Buffer
}

/** A flow to some UDP ports, a datagram of it, and one that differs in one field only. */
const rows: [field: string, flow: (port: number) => Flow, match: Datagram, miss: Datagram][] = [
  ['destination', () => ({ destination: '192.0.2.64/26' }), { to: BEYOND }, { to: '192.0.2.128' }],
  ['destination of IPv6', () => ({ destination: HOST.v6 }), { to6: 1 }, { to6: 2 }],
  ['source', () => ({ source: '192.0.2.3' }), { from: '192.0.2.3' }, { from: '192.0.2.4' }],
  ['protocol', () => ({ protocol: UDP, destination: HOST.v4 }), {}, { protocol: 132 }],
  ['SCTP', () => ({ protocol: 'sctp' }), { protocol: 132 }, {}],
  ['destinationPort', (port) => ({ destinationPort: port }), {}, { port: 1 }],
  ['a range of ports', (port) => ({ destinationPort: [port, port + 4] }), { port: 4 }, { port: 5 }],
  ['sourcePort', () => ({ sourcePort: [700, 800] }), { sourcePort: 800 }, { sourcePort: 801 }],
  ['vlan', () => ({ vlan: 5 }), { vlan: 5 }, { vlan: 6 }],
  ['vlan, a frame without', () => ({ vlan: 5 }), { vlan: 5 }, {}],
  ['vlan: null', () => ({ vlan: null }), {}, { vlan: 5 }],
  ['etherType', () => ({ etherType: 0x86dd }), { to6: 1 }, {}],
  ['destinationMac', () => ({ destinationMac: '02:00:5E:10:99:99' }), { mac: STRANGER }, {}],
]

function frameOf({ from, to = HOST.v4, to6, protocol, sourcePort, vlan, mac }: Datagram, port: number, text: string) {
  const link = { to: mac ?? cardMac, ...(vlan !== undefined && { tags: [[0x8100, vlan] as [number, number]] }) }
  const fields = { destinationPort: port, payload: Buffer.from(text), ...(sourcePort && { sourcePort }) }
  if (to6 !== undefined) return p.udp6({ ...fields, source: hex6(2), destination: hex6(to6) }, link)
  const addresses = { source: p.ip4Address(from ?? REMOTE.v4), destination: p.ip4Address(to) }
  const frame = p.udp4({ ...fields, ...addresses }, link)
  if (protocol !== undefined) frame.writeUInt8(protocol, 23)
  return frame
}
let cardMac: Buffer

test.serial('a flow as an object is the packets that its fields say: one of each field', async (t) => {
  const config = `${GRANT}flows = ["udp", "sctp", "icmp", "icmp6"]\noverrideHost = true\n`
  const scene = await Scene.open(t, { config })
  const { lab, daemon } = scene
  cardMac = p.mac(lab.cardMac)
  const client = Client.start(lab, '__test__/helpers/programs/attacker.ts', { socket: daemon.socket })
  await client.ask({ do: 'connect' })
  await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(0) })
  await client.ask({ do: 'record' })

  const numbered = rows.map(([field, flow, match, miss], n) => ({ field, flow, match, miss, first: 4000 + 10 * n }))
  const flows = numbered.map(({ first, flow }): Flow => ({ protocol: 'udp', destinationPort: first, ...flow(first) }))
  await client.ask({ do: 'claim', flows, overrideHost: true })
  const frames = numbered.flatMap(({ field, first, match, miss }) =>
    [miss, match].map((datagram) =>
      frameOf(datagram, first + (datagram.port ?? 0), `<${field}: ${datagram === match ? 'match' : 'miss'}>`),
    ),
  )
  await lab.sendFrames(frames)
  const came: string[] = []
  const arrived = async () => {
    const frames = await client.ask<string[]>({ do: 'recorded' })
    const texts = frames.map((frame) => Buffer.from(frame, 'hex').toString('latin1'))
    came.push(...texts.flatMap((text) => /<.*: (?:match|miss)>/.exec(text)?.[0] ?? []))
    return came.includes(`<${rows.at(-1)?.[0]}: match>`) // in their order
  }
  await waitUntil('there, the last of all frames', arrived).catch((error) => t.fail(`${error.message}: ${came}`))
  t.deepEqual(
    came,
    rows.map(([field]) => `<${field}: match>`),
  )

  // Types of ICMP; and an expression gives back what was claimed as an object.
  const unanswered = async () => {
    const lost = [HOST.v4, HOST.v6].map((address) => lab.remote.unanswered(address, 20))
    return (await Promise.all(lost)).map(({ length }) => length)
  }
  const echoes: Flow[] = [
    { protocol: 'icmp', icmpType: 8, destination: HOST.v4 },
    { protocol: 'icmp6', icmpType: 128, destination: HOST.v6 },
  ]
  await client.ask({ do: 'claim', flows: echoes.map((flow) => ({ ...flow, icmpType: 13 })), overrideHost: true })
  t.deepEqual(await unanswered(), [0, 0])
  await client.ask({ do: 'replace', flows: echoes, overrideHost: true })
  t.deepEqual(await unanswered(), [20, 20])
  await client.ask({ do: 'release', flows: [`dst host ${HOST.v4} and icmp[icmptype] = icmp-echo`] })
  t.deepEqual(await unanswered(), [0, 20])
  await client.ask({ do: 'release', flows: echoes })
  t.deepEqual(await unanswered(), [0, 0])

  await client.kill()
  await scene.end(t)
})
