// Compiled, never run: every @ts-expect-error is a use that must not compile.
import {
  type Attempt,
  type Batch,
  connect,
  type DaemonStatus,
  type ExplainedStep,
  type Explanation,
  type Flow,
  type Frame,
  type Network,
  type Port,
  type PortEntry,
  type PortInfo,
  type PortStatistics,
  type Refusal,
  type RingStatistics,
  type UplinkInfo,
  type UplinkStatistics,
  XsknetError,
  type XsknetErrorCode,
} from 'xsknet'
import { exactly } from './exactly.js'

const net = await connect()
exactly<Network>()(net)
await connect({})
await connect({ socket: '/run/xsknet/default.sock', signal: AbortSignal.timeout(1000) })
await connect({ socket: process.env.SOCKET, signal: undefined })
// @ts-expect-error a socket is a path
await connect({ socket: 3 })
// @ts-expect-error it is called socket
await connect({ path: '/run/xsknet/default.sock' })

exactly<UplinkInfo[]>()(await net.uplinks())
exactly<DaemonStatus>()(await net.status({ signal: AbortSignal.timeout(1000) }))
exactly<PortEntry[]>()(await net.ports())
exactly<UplinkStatistics>()(await net.uplinkStatistics('eth0'))
exactly<PortStatistics>()(await net.portStatistics(1))
const explanation = await net.explain(new Uint8Array(60), { uplink: 'eth0' })
exactly<Explanation>()(explanation)
exactly<'port' | 'host' | 'uplink' | 'dropped' | 'elsewhere'>()(explanation.verdict)
exactly<readonly ExplainedStep[]>()(explanation.steps)
await net.explain(Buffer.alloc(60), { port: 1, signal: AbortSignal.timeout(1000) })
// @ts-expect-error a packet is bytes
await net.explain('00', { port: 1 })
// @ts-expect-error it arrives somewhere, or a port sends it
await net.explain(new Uint8Array(60))
exactly<Promise<void>>()(net.close())
exactly<Promise<void>>()(net.closed)
exactly<Network>()(net.ref().unref())
// @ts-expect-error a port is asked for by number
await net.portStatistics('resolver')
// @ts-expect-error an uplink is asked for by name
await net.uplinkStatistics(2)
// @ts-expect-error closed is not for others to settle
net.closed = Promise.resolve()
// @ts-expect-error saying hello is not for others
net.hello('me')

const port = await net.openPort({ uplink: 'eth0', addresses: ['192.0.2.10/24'] })
exactly<Port>()(port)
exactly<PortInfo>()(port.info)
// @ts-expect-error what the daemon says is not for others to tell
port.lost(new XsknetError('ERR_XSKNET_PORT_LOST', 'gone'))
// @ts-expect-error nor that it is gone
port.detached()
await net.openPort({
  uplink: 'eth0',
  addresses: ['192.0.2.10/24', '2001:db8::10/64'] as const,
  name: 'resolver',
  mac: 'own',
  vlan: 42,
  mtu: 1500,
  frames: 4096,
  frameSize: 2048,
  headroom: 0,
  ringSize: 2048,
  hugePages: 'prefer',
  multiBuffer: true,
  zeroCopy: 'require',
  rings: 'auto',
  busyPoll: { spinMicroseconds: 20, budget: 64 },
  signal: AbortSignal.timeout(1000),
})
// @ts-expect-error options are needed
await net.openPort()
// @ts-expect-error so is the uplink
await net.openPort({ addresses: [] })
// Addresses or flows: the daemon checks that there are any.
await net.openPort({ uplink: 'eth0', flows: ['udp dst port 53 and dst host 192.0.2.1'] })
// @ts-expect-error in a list
await net.openPort({ uplink: 'eth0', addresses: '192.0.2.10' })
// @ts-expect-error a union, not a boolean
await net.openPort({ uplink: 'eth0', addresses: [], zeroCopy: true })
// @ts-expect-error a VLAN is a number
await net.openPort({ uplink: 'eth0', addresses: [], vlan: '42' })
await net.openPort({ uplink: 'eth0', addresses: ['192.0.2.12'], vlan: port.info.vlan })
// @ts-expect-error no MAC can be chosen
await net.openPort({ uplink: 'eth0', addresses: [], mac: '02:00:00:00:00:01' })
// @ts-expect-error it is called ringSize
await net.openPort({ uplink: 'eth0', addresses: [], slots: 2048 })
// @ts-expect-error not a kind of rings
await net.openPort({ uplink: 'eth0', addresses: [], rings: 'af_xdp' })
// @ts-expect-error both numbers
await net.openPort({ uplink: 'eth0', addresses: [], busyPoll: { budget: 64 } })

const flow: Flow = { protocol: 'udp', destinationPort: [1, 1023], destination: '192.0.2.1', vlan: null }
await net.openPort({ uplink: 'eth0', addresses: [], flows: ['udp', flow, { protocol: 47, vlan: undefined }] })
await net.openPort({ uplink: 'eth0', tap: { received: false, flows: ['arp', flow], sample: 10, snapLength: 64 } })
// @ts-expect-error one of so many is a number
await net.openPort({ uplink: 'eth0', tap: { sample: '10' } })
exactly<Promise<Attempt[]>>()(port.join(['broadcast']))
exactly<Promise<Refusal[]>>()(port.refusals({ signal: new AbortController().signal }))
exactly<Promise<void>>()(port.leave(['broadcast'], { signal: new AbortController().signal }))
exactly<Promise<void>>()(port.claim([flow, 'udp'], { overrideHost: true }))
await port.replace([flow] as const)
await port.release([])
// @ts-expect-error not the name of a protocol
await port.claim([{ protocol: 'UDP' }])
// @ts-expect-error a range has two ports
await port.claim([{ protocol: 'udp', sourcePort: [1, 2, 3] }])
// @ts-expect-error it is called destinationPort
await port.claim([{ protocol: 'udp', port: 53 }])
// @ts-expect-error an address is text
await port.claim([{ destination: 0xc000_0201 }])
// @ts-expect-error flows are a list
await port.claim(flow)

exactly<number | null>()(port.info.vlan)
exactly<'copy' | 'zero-copy'>()(port.info.bindMode)
exactly<'xsk' | 'bpf'>()(port.info.rings)
exactly<string | null | undefined>()(port.info.attempts[0]?.code)
const { dropped } = (await net.portStatistics(port.info.port)).guard
exactly<number | undefined>()(dropped.source_mac)
exactly<RingStatistics | null>()((await net.portStatistics(port.info.port)).rings)
exactly<RingStatistics>()((await net.uplinkStatistics('eth0')).closed.rings)

net.on('daemonGone', (error) => exactly<XsknetError>()(error))
net.on('uplinkGone', (gone) => exactly<{ uplink: string; error: XsknetError }>()(gone))
net.on('close', () => {})
// @ts-expect-error close tells nothing
net.on('close', (error) => error)
// @ts-expect-error there is no error event: whoever waits is told
net.on('error', (error: Error) => error.message.length)

const controller = new AbortController()
for await (const frames of port.batches({ max: 64, signal: controller.signal })) {
  exactly<Batch>()(frames)
  for (const frame of frames) {
    exactly<Frame>()(frame)
    exactly<boolean>()(frame.send())
    exactly<number>()(frame.uint16(12))
    // @ts-expect-error where a frame lies is not to be chosen
    frame.offset = 0
    frame.length = 60
  }
  exactly<Frame | undefined>()(frames.allocate())
}
exactly<boolean>()(port.trySend(new Uint8Array(60)))
exactly<Promise<void>>()(port.send(Buffer.alloc(60), { signal: controller.signal }))
// @ts-expect-error bytes, not text
port.trySend('hello')

const error = new XsknetError('ERR_XSKNET_ADDRESS_TAKEN', 'taken', {
  hint: 'choose another',
  details: { address: '192.0.2.10' },
})
exactly<XsknetErrorCode>()(error.code)
exactly<string | undefined>()(error.hint)
// @ts-expect-error a detail is unknown until it is looked at
error.details.address.length
// @ts-expect-error not one of the codes
new XsknetError('ERR_XSKNET_RAIN', 'it rains')
// @ts-expect-error a code is compared with codes alone
if (error.code === 'EBUSY') throw error
