import { once } from 'node:events'
import { mock } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import { connectOver } from '../../packages/xsknet/src/connection/connect.js'
import type { Descriptors, Dial, Transport } from '../../packages/xsknet/src/connection/conversation.js'
import {
  type MakePort,
  type MakeSocket,
  type Network,
  type OwnSocket,
  openPinnedPort,
} from '../../packages/xsknet/src/connection/network.js'
import {
  type Answer,
  type Event,
  encode,
  type Failure,
  type PinnedPortInfo,
  type PortInfo,
  type Request,
  readRequest,
} from '../../packages/xsknet/src/connection/protocol.js'
import { XsknetError } from '../../packages/xsknet/src/errors.js'
import { notify, type Port, type PortControl, type PortNotifications } from '../../packages/xsknet/src/port/port.js'
import { example } from '../helpers/examples.js'

const SOCKET = '/run/xsknet/lab-h5.sock'
const lost: Failure = { code: 'ERR_XSKNET_PORT_LOST', message: 'the uplink was deleted', hint: 'put it back' }

/**
 * The daemon's end of a connection, in memory. It answers nothing by itself but `hello`, and `closePort` where `undoes`
 * says so.
 */
class Daemon implements Transport {
  readonly asked: Request[] = []
  /** What came with what was asked, in that order, `hello` included. */
  readonly fds: number[][] = []
  room = Infinity
  broken: Error | undefined
  greets = true
  undoes = true
  held = true
  closed = false
  #onMessage: Parameters<Dial>[0] = () => {}
  #onEnd: Parameters<Dial>[1] = () => {}

  readonly dial: Dial = (onMessage, onEnd) => {
    this.#onMessage = onMessage
    this.#onEnd = onEnd
    return this
  }

  send(message: Uint8Array, fds: number[]): boolean {
    if (this.broken) throw this.broken
    if (this.room === 0) return false
    this.room--
    const request = readRequest(message)
    this.asked.push(request)
    this.fds.push(fds)
    if (request.operation === 'hello' && this.greets)
      this.later(() => this.answer('hello', example('hello.answer').result))
    if (request.operation === 'closePort' && this.undoes)
      this.later(() => this.say({ version: 2, id: request.id, result: {} }))
    return true
  }

  ref() {
    this.held = true
  }

  unref() {
    this.held = false
  }

  close() {
    this.closed = true
  }

  later(what: () => void) {
    setImmediate(() => this.closed || what())
  }

  /** The last request of this operation. */
  last(operation: Request['operation']): Request {
    const request = this.asked.findLast((asked) => asked.operation === operation)
    if (!request) throw new Error(`${operation} was never asked, only ${this.operations().join()}`)
    return request
  }

  operations() {
    return this.asked.map(({ operation }) => operation)
  }

  answer(operation: Request['operation'], result: unknown, descriptors: Descriptors | null = null) {
    this.say({ version: 2, id: this.last(operation).id, result }, descriptors)
  }

  refuse(operation: Request['operation'], error: Failure) {
    this.say({ version: 2, id: this.last(operation).id, error })
  }

  say(message: Answer | Event, descriptors: Descriptors | null = null) {
    this.sayBytes(encode(message), descriptors)
  }

  sayBytes(message: Uint8Array, descriptors: Descriptors | null = null) {
    this.#onMessage(message, descriptors)
  }

  hangUp(error: Error | null = null) {
    this.#onEnd(error)
  }
}

class FakeDescriptors implements Descriptors {
  readonly length: number
  closed = 0
  constructor(length = 2) {
    this.length = length
  }
  close() {
    this.closed++
  }
}

/** A port that only tells what it was told. */
class FakePort {
  readonly info: PortInfo
  readonly control: PortControl
  readonly told: string[] = []
  #ends!: () => void
  readonly closed = new Promise<void>((resolve) => {
    this.#ends = resolve
  })
  constructor(info: PortInfo, control: PortControl) {
    this.info = info
    this.control = control
  }
  async close() {
    this.told.push('close')
    await this.control.close()
    this.#ends()
  }
  readonly [notify]: PortNotifications = {
    lost: ({ code, hint }) => {
      this.told.push(`${code}, ${hint}`)
      void this.control.close().then(this.#ends)
    },
    detached: () => {
      this.told.push('detached')
    },
  }
}

const makePort: MakePort = (_, __, info, control) => new FakePort(info, control) as unknown as Port

async function connected({ make = makePort }: { make?: MakePort } = {}): Promise<{ daemon: Daemon; network: Network }> {
  const daemon = new Daemon()
  const network = await connectOver(SOCKET, daemon.dial, make, 'test')
  daemon.asked.length = 0
  return { daemon, network }
}

const options = { uplink: 'eth0', addresses: ['192.0.2.10/24'] }

async function opened() {
  const { daemon, network } = await connected()
  const opening = network.openPort(options)
  daemon.answer('openPort', example('open-port.answer').result, new FakeDescriptors())
  const port = (await opened.cast(opening)) as FakePort
  return { daemon, network, port }
}
opened.cast = (opening: Promise<Port>) => opening as unknown as Promise<FakePort>

/** Lets everything run that waits for nothing. */
const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

const refusal = (code: string) => Object.assign(new Error(`connect ${code}`), { code, errno: -1, syscall: 'connect' })

test('connecting says hello, and holds the process no longer than that', async (t) => {
  const daemon = new Daemon()
  const network = await connectOver(SOCKET, daemon.dial, makePort, 'xsknet/0.1.0')
  t.deepEqual(daemon.asked, [{ version: 2, id: 1, operation: 'hello', client: 'xsknet/0.1.0' }])
  t.false(daemon.held)
  await network.close()
})

for (const [code, becomes] of [
  ['ENOENT', 'ERR_XSKNET_DAEMON_ABSENT'],
  ['ENOTDIR', 'ERR_XSKNET_DAEMON_ABSENT'],
  ['ECONNREFUSED', 'ERR_XSKNET_DAEMON_ABSENT'],
  ['EPROTOTYPE', 'ERR_XSKNET_DAEMON_ABSENT'],
  ['EACCES', 'ERR_XSKNET_NOT_PERMITTED'],
  ['EPERM', 'ERR_XSKNET_NOT_PERMITTED'],
  ['ENAMETOOLONG', 'ERR_XSKNET_KERNEL_REFUSED'],
  ['EMFILE', 'ERR_XSKNET_KERNEL_REFUSED'],
  ['ENOBUFS', 'ERR_XSKNET_KERNEL_REFUSED'],
] as const) {
  test(`${code} from the socket is ${becomes}, with what to do`, async (t) => {
    const cause = refusal(code)
    const dial = () => {
      throw cause
    }
    const error = await t.throwsAsync(connectOver(SOCKET, dial, makePort, 'test'), {
      instanceOf: XsknetError,
      code: becomes,
    })
    t.true(error?.message.includes(SOCKET))
    t.is(error?.cause, cause)
    t.deepEqual(error?.details, { socket: SOCKET })
    t.regex(error?.hint ?? '', /^[A-Z].*\.$/)
  })
}

test('a full queue of new connections is tried again', async (t) => {
  const daemon = new Daemon()
  let tries = 0
  const dial: Dial = (...callbacks) => {
    if (++tries < 4) throw refusal('EAGAIN')
    return daemon.dial(...callbacks)
  }
  await (await connectOver(SOCKET, dial, makePort, 'test')).close()
  t.is(tries, 4)
})

test('a queue that stays full is given up, or left by the signal', async (t) => {
  let tries = 0
  const dial = () => {
    tries++
    throw refusal('EAGAIN')
  }
  const began = Date.now()
  await t.throwsAsync(connectOver(SOCKET, dial, makePort, 'test'), {
    code: 'ERR_XSKNET_DAEMON_ABSENT',
    message: /accepted no connection/,
  })
  t.true(tries > 10 && tries < 60, `${tries} tries`)
  t.true(Date.now() - began >= 900)

  const controller = new AbortController()
  const leaving = connectOver(SOCKET, dial, makePort, 'test', controller.signal)
  const reason = new Error('enough')
  controller.abort(reason)
  t.is(await t.throwsAsync(leaving), reason)
})

test.serial('a daemon that never answers hello is given up after 5 s', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const daemon = new Daemon()
  daemon.greets = false
  const connecting = connectOver(SOCKET, daemon.dial, makePort, 'test')
  await settled()
  t.true(daemon.held)
  mock.timers.tick(4999)
  await settled()
  t.false(daemon.closed)
  mock.timers.tick(1)
  await t.throwsAsync(connecting, { code: 'ERR_XSKNET_DAEMON_ABSENT', message: /did not answer for 5000 ms/ })
  t.true(daemon.closed)
})

test('a daemon that turns the connection away says why', async (t) => {
  const daemon = new Daemon()
  daemon.greets = false
  const connecting = connectOver(SOCKET, daemon.dial, makePort, 'test')
  await settled()
  daemon.say(example('refused.answer') as unknown as Answer)
  await t.throwsAsync(connecting, { code: 'ERR_XSKNET_LIMIT_REACHED' })
  t.true(daemon.closed)
})

test('its last words are read also when it took no more of ours', async (t) => {
  const daemon = new Daemon()
  daemon.broken = Object.assign(new Error('send EPIPE'), { code: 'EPIPE' })
  const connecting = connectOver(SOCKET, daemon.dial, makePort, 'test')
  await settled()
  daemon.say(example('refused.answer') as unknown as Answer)
  await t.throwsAsync(connecting, { code: 'ERR_XSKNET_LIMIT_REACHED' })
})

test('a daemon that is gone without a word is gone', async (t) => {
  const daemon = new Daemon()
  daemon.broken = Object.assign(new Error('send EPIPE'), { code: 'EPIPE' })
  const error = await t.throwsAsync(connectOver(SOCKET, daemon.dial, makePort, 'test'), {
    code: 'ERR_XSKNET_DAEMON_GONE',
  })
  t.is(error?.cause, daemon.broken)
})

test('a daemon of another version is told from one that lies', async (t) => {
  const daemon = new Daemon()
  daemon.greets = false
  const connecting = connectOver(SOCKET, daemon.dial, makePort, 'test')
  await settled()
  daemon.sayBytes(new TextEncoder().encode('{"version":3,"id":1,"result":{}}'))
  const error = await t.throwsAsync(connecting, { code: 'ERR_XSKNET_PROTOCOL_VERSION', instanceOf: XsknetError })
  t.like(error?.details, { theirs: 3, ours: 2, older: 'client' })
})

test('an aborted signal ends connecting with its reason', async (t) => {
  const daemon = new Daemon()
  daemon.greets = false
  const reason = new Error('enough')
  const controller = new AbortController()
  const connecting = connectOver(SOCKET, daemon.dial, makePort, 'test', controller.signal)
  await settled()
  controller.abort(reason)
  t.is(await t.throwsAsync(connecting), reason)
  t.true(daemon.closed)
})

test('answers find their requests in any order', async (t) => {
  const { daemon, network } = await connected()
  const [uplinks, statistics] = [network.uplinks(), network.uplinkStatistics('eth0')]
  t.true(daemon.held)
  daemon.answer('uplinkStatistics', example('uplink-statistics.answer').result)
  daemon.answer('uplinks', example('uplinks.answer').result)
  t.deepEqual(await uplinks, (example('uplinks.answer').result as { uplinks: unknown[] }).uplinks as never)
  t.deepEqual(
    await statistics,
    (example('uplink-statistics.answer').result as { statistics: unknown }).statistics as never,
  )
  t.false(daemon.held)
})

test('a packet is explained by its digits, as it arrives or as a port sends it', async (t) => {
  const { daemon, network } = await connected()
  const packet = new Uint8Array(64).fill(7).subarray(2, 48)
  const arriving = network.explain(packet, { uplink: 'eth0' })
  t.like(daemon.last('explainArrival'), { uplink: 'eth0', packet: '07'.repeat(46) })
  const answer = example('explain-arrival.answer').result as { explanation: object }
  daemon.answer('explainArrival', answer)
  t.like(await arriving, { ...answer.explanation, direction: 'in', sender: null, length: 46, verdict: 'port' })

  const sending = network.explain(packet, { port: 7 })
  t.like(daemon.last('explainSending'), { port: 7 })
  daemon.answer('explainSending', example('explain-sending.answer').result)
  t.like(await sending, { direction: 'out', sender: 7, verdict: 'dropped', counter: 'rate' })

  const before = daemon.operations().length
  for (const [bytes, options, code] of [
    ['00', { port: 7 }, 'ERR_INVALID_ARG_TYPE'],
    [new Uint8Array(13), { port: 7 }, 'ERR_OUT_OF_RANGE'],
    [new Uint8Array(32_001), { port: 7 }, 'ERR_OUT_OF_RANGE'],
    [packet, undefined, 'ERR_INVALID_ARG_TYPE'],
    [packet, {}, 'ERR_INVALID_ARG_VALUE'],
    [packet, { port: 7, uplink: 'eth0' }, 'ERR_INVALID_ARG_VALUE'],
    [packet, { prot: 7 }, 'ERR_INVALID_ARG_VALUE'],
    [packet, { port: -1 }, 'ERR_OUT_OF_RANGE'],
    [packet, { port: {} }, 'ERR_INVALID_ARG_TYPE'],
    [packet, { port: null }, 'ERR_INVALID_ARG_TYPE'],
    [packet, { uplink: 7 }, 'ERR_INVALID_ARG_TYPE'],
  ] as const) {
    await t.throwsAsync(network.explain(bytes as never, options as never), { code }, `${JSON.stringify(options)}`)
  }
  t.is(daemon.operations().length, before, 'nothing of it was sent')
})

test('every operation without descriptors has its method', async (t) => {
  const { daemon, network } = await connected()
  const status = network.status()
  daemon.answer('status', example('status.answer').result)
  t.deepEqual(await status, example('status.answer').result as never)

  const ofPort = network.portStatistics(7)
  t.like(daemon.last('portStatistics'), { port: 7 })
  daemon.answer('portStatistics', example('port-statistics.answer').result)
  t.deepEqual(await ofPort, (example('port-statistics.answer').result as { statistics: unknown }).statistics as never)
})

test('a list of ports that takes several messages arrives whole', async (t) => {
  const { daemon, network } = await connected()
  const entry = (example('ports.answer').result as { ports: { port: number }[] }).ports[0]
  const listing = network.ports()
  for (const [first, more] of [
    [1, true],
    [3, true],
    [5, false],
  ] as const) {
    await settled()
    t.is((daemon.last('ports') as { after?: number }).after, first === 1 ? undefined : first - 1)
    daemon.answer('ports', { ports: [0, 1].map((n) => ({ ...entry, port: first + n })), more })
  }
  t.deepEqual(
    (await listing).map(({ port }) => port),
    [1, 2, 3, 4, 5, 6],
  )
})

test('what the daemon refuses rejects with its error, hint, details, cause, and the stack of the caller', async (t) => {
  const { daemon, network } = await connected()
  const askingFromHere = async () => network.openPort(options)
  const asking = askingFromHere()
  const { error: failure } = example('open-port-refused.answer') as { error: Failure }
  daemon.refuse('openPort', failure)
  const error = await t.throwsAsync(asking, { instanceOf: XsknetError })
  const { code, message, hint, details } = error as XsknetError
  t.deepEqual({ code, message, hint, details }, { ...failure } as never)
  t.regex(error?.stack ?? '', new RegExp(`^XsknetError: ${message.slice(0, 10)}.*\n.*at .*\n[^]*askingFromHere`))
})

const wrong: [title: string, options: unknown, code: string, message: RegExp][] = [
  [
    'no options',
    undefined,
    'ERR_INVALID_ARG_TYPE',
    /^The "options" argument must be of type object\. Received undefined$/,
  ],
  ['a text', 'eth0', 'ERR_INVALID_ARG_TYPE', /"options" argument/],
  [
    'no uplink',
    { addresses: [] },
    'ERR_INVALID_ARG_TYPE',
    /"options.uplink" property must be given\. Received undefined/,
  ],
  [
    'an uplink by number',
    { ...options, uplink: 3 },
    'ERR_INVALID_ARG_TYPE',
    /"options.uplink" property must be of type string. Received 3/,
  ],
  [
    'a long uplink',
    { ...options, uplink: 'e'.repeat(16) },
    'ERR_OUT_OF_RANGE',
    /"options.uplink.length" .* <=15\. Received 16/,
  ],
  ['an empty uplink', { ...options, uplink: '' }, 'ERR_OUT_OF_RANGE', /"options.uplink.length" .* >=1/],
  [
    'one address, not in a list',
    { ...options, addresses: '192.0.2.1' },
    'ERR_INVALID_ARG_TYPE',
    /an instance of Array. Received '192.0.2.1'/,
  ],
  [
    'an address that is none',
    { ...options, addresses: ['192.0.2.1', null] },
    'ERR_INVALID_ARG_TYPE',
    /"options.addresses.1" .* string. Received null/,
  ],
  [
    '65 addresses',
    { ...options, addresses: Array(65).fill('::1') },
    'ERR_OUT_OF_RANGE',
    /"options.addresses.length" .* <=64\. Received 65/,
  ],
  ['a long name', { ...options, name: 'n'.repeat(65) }, 'ERR_OUT_OF_RANGE', /"options.name.length"/],
  ['half a character', { ...options, name: 'a\ud800' }, 'ERR_INVALID_ARG_VALUE', /"options.name" .* Unicode/],
  [
    'a MAC',
    { ...options, mac: '02:00:00:00:00:01' },
    'ERR_INVALID_ARG_VALUE',
    /must be "own" or "uplink". Received '02:00/,
  ],
  ['a VLAN in text', { ...options, vlan: '42' }, 'ERR_INVALID_ARG_TYPE', /"options.vlan" .* number. Received '42'/],
  ['half a VLAN', { ...options, vlan: 0.5 }, 'ERR_OUT_OF_RANGE', /"options.vlan" .* an integer. Received 0.5/],
  ['NaN', { ...options, mtu: Number.NaN }, 'ERR_INVALID_ARG_TYPE', /"options.mtu" .* Received NaN/],
  ['infinity', { ...options, mtu: Infinity }, 'ERR_OUT_OF_RANGE', /"options.mtu" .* an integer. Received Infinity/],
  ['a negative number', { ...options, frames: -1 }, 'ERR_OUT_OF_RANGE', /"options.frames" .* >=0. Received -1/],
  ['a bigint', { ...options, frames: 4096n }, 'ERR_INVALID_ARG_TYPE', /"options.frames" .* Received 4096n/],
  [
    '2 ** 32',
    { ...options, ringSize: 2 ** 32 },
    'ERR_OUT_OF_RANGE',
    /"options.ringSize" .* <=4294967295. Received 4294967296/,
  ],
  [
    "rings: 'af_xdp'",
    { ...options, rings: 'af_xdp' },
    'ERR_INVALID_ARG_VALUE',
    /must be "xsk" or "bpf" or "auto". Received 'af_xdp'/,
  ],
  [
    'zeroCopy: true',
    { ...options, zeroCopy: true },
    'ERR_INVALID_ARG_VALUE',
    /must be "require" or "prefer" or "never". Received true/,
  ],
  [
    'half of busyPoll',
    { ...options, busyPoll: { budget: 64 } },
    'ERR_INVALID_ARG_TYPE',
    /"options.busyPoll.spinMicroseconds" property must be given/,
  ],
  [
    'a misspelt option',
    { ...options, ringsize: 512 },
    'ERR_INVALID_ARG_VALUE',
    /"options.ringsize" property is not an option. Received 'ringsize'. Did you mean "ringSize"\?$/,
  ],
  [
    'a misspelt option that has to be given',
    { uplink: 'eth0', adresses: ['192.0.2.10'] },
    'ERR_INVALID_ARG_VALUE',
    /"options.adresses" property is not an option. Received 'adresses'. Did you mean "addresses"\?$/,
  ],
  [
    'an option that resembles none',
    { ...options, colour: 'red' },
    'ERR_INVALID_ARG_VALUE',
    /"options.colour" property is not an option. Received 'colour'$/,
  ],
  [
    'busyPoll without its prefix',
    { ...options, busyPoll: { microseconds: 1 } },
    'ERR_INVALID_ARG_VALUE',
    /"options.busyPoll.microseconds"/,
  ],
  ['frames that gather for no time', { ...options, coalesceMicroseconds: 0 }, 'ERR_OUT_OF_RANGE', />=1. Received 0/],
  ['no queue', { ...options, queues: 0 }, 'ERR_OUT_OF_RANGE', /"options.queues" .* >=1. Received 0/],
  ['nine queues', { ...options, queues: 9 }, 'ERR_OUT_OF_RANGE', /"options.queues" .* <=8. Received 9/],
  [
    'a negative maxKept',
    { ...options, maxKept: -1 },
    'ERR_OUT_OF_RANGE',
    /"options.maxKept" .* from 0 on. Received -1/,
  ],
  [
    'maxKept in text',
    { ...options, maxKept: '1' },
    'ERR_INVALID_ARG_TYPE',
    /"options.maxKept" .* number. Received '1'/,
  ],
  [
    'the number of a port as umemOf',
    { ...options, umemOf: 1 },
    'ERR_INVALID_ARG_VALUE',
    /"options.umemOf" .* port of this network/,
  ],
  ['no port as umemOf', { ...options, umemOf: null }, 'ERR_INVALID_ARG_VALUE', /"options.umemOf" .* Received null/],
  ['a flow that is a number', { ...options, flows: ['udp', 53] }, 'ERR_INVALID_ARG_TYPE', /"options.flows.1" .* 53$/],
  ['flows without a list', { ...options, flows: 'udp' }, 'ERR_INVALID_ARG_TYPE', /"options.flows" .* Array/],
  ['a signal that is none', { ...options, signal: {} }, 'ERR_INVALID_ARG_TYPE', /"options.signal" .* AbortSignal/],
]
for (const [title, given, code, message] of wrong) {
  test(`openPort rejects ${title} with ${code}, and asks nothing`, async (t) => {
    const { daemon, network } = await connected()
    const error = await t.throwsAsync(network.openPort(given as never), { code, message })
    t.true(code === 'ERR_OUT_OF_RANGE' ? error instanceof RangeError : error instanceof TypeError)
    t.deepEqual(daemon.asked, [])
  })
}

test('options that are undefined are not asked for', async (t) => {
  const { daemon, network } = await connected()
  network.openPort({ ...options, vlan: undefined, signal: undefined, zeroCopy: undefined }).catch(() => {})
  t.deepEqual(daemon.asked, [{ version: 2, id: 2, operation: 'openPort', port: options }])
})

test('flows as objects are requested as expressions, and an invalid object stops the request', async (t) => {
  const { daemon, network } = await connected()
  const flow = { protocol: 'udp', destinationPort: 53, destination: '192.0.2.1' } as const
  const invalid = network.openPort({ ...options, flows: ['udp', { ...flow, destinationPort: 65_536 }] })
  await t.throwsAsync(invalid, { code: 'ERR_XSKNET_FLOW_INVALID', message: /index 1 .*`destinationPort`/ })
  t.deepEqual(daemon.asked, [])
  network.openPort({ ...options, flows: [flow, 'tcp'] }).catch(() => {})
  t.like(daemon.asked[0], { port: { flows: ['dst host 192.0.2.1 and udp dst port 53', 'tcp'] } })
})

test('wrong arguments of the other methods reject too', async (t) => {
  const { daemon, network } = await connected()
  await t.throwsAsync(network.uplinkStatistics(7 as never), {
    code: 'ERR_INVALID_ARG_TYPE',
    message: /"uplink" argument/,
  })
  await t.throwsAsync(network.portStatistics(-1), { code: 'ERR_OUT_OF_RANGE', message: /"port" is out of range/ })
  await t.throwsAsync(network.status(null as never), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.throwsAsync(network.ports({ signal: 5 as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  const misspelt = {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /"options.singal" property is not an option.* Did you mean "signal"\?$/,
  }
  await t.throwsAsync(network.uplinks({ singal: undefined } as never), misspelt)
  t.deepEqual(daemon.asked, [])
})

test('a port is made of its answer before the next message is read', async (t) => {
  const { daemon, network } = await connected()
  const descriptors = new FakeDescriptors()
  const opening = opened.cast(network.openPort(options))
  const { info } = example('open-port.answer').result as { info: PortInfo }
  daemon.answer('openPort', example('open-port.answer').result, descriptors)
  daemon.say({ version: 2, event: 'portLost', port: info.port, error: lost })
  const port = await opening
  t.deepEqual(port.info, info)
  t.deepEqual(port.told, ['ERR_XSKNET_PORT_LOST, put it back'])
  t.is(descriptors.closed, 0)
  await port.closed
  t.deepEqual(daemon.operations(), ['openPort'], 'what the daemon took away is not given back')
})

test('a port that is closed or lost hears no more', async (t) => {
  const { daemon, network, port } = await opened()
  await port.close()
  t.like(daemon.last('closePort'), { port: port.info.port })
  daemon.say({ version: 2, event: 'portLost', port: port.info.port, error: lost })
  daemon.hangUp()
  await network.close()
  t.deepEqual(port.told, ['close'])
})

test('a port that the daemon does not know any more is closed', async (t) => {
  const { daemon, port } = await opened()
  daemon.undoes = false
  const closing = port.close()
  daemon.refuse('closePort', { code: 'ERR_XSKNET_PORT_UNKNOWN', message: 'no such port' })
  await t.notThrowsAsync(closing)
})

test('a port that the daemon could not undo says so, and net.close() too, at its end', async (t) => {
  const { daemon, network } = await opened()
  daemon.undoes = false
  const closing = network.close()
  await settled()
  daemon.refuse('closePort', { code: 'ERR_XSKNET_KERNEL_REFUSED', message: 'deleting the pair failed' })
  await t.throwsAsync(closing, { code: 'ERR_XSKNET_KERNEL_REFUSED' })
  t.true(daemon.closed)
  await t.notThrowsAsync(network.closed)
})

test('a port that everybody has forgotten is not held by the network', async (t) => {
  const { daemon, network } = await connected()
  const forgetful = async () => {
    const opening = network.openPort(options)
    daemon.answer('openPort', example('open-port.answer').result, new FakeDescriptors())
    return new WeakRef(await opening)
  }
  const port = await forgetful()
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  for (let turns = 0; port.deref() && turns < 100; turns++) {
    await settled()
    gc()
  }
  t.is(port.deref(), undefined)
  daemon.say({ version: 2, event: 'portLost', port: 1, error: lost })
  await network.close()
  t.true(daemon.closed)
})

test('a port asks the daemon for its statistics as long as there is one', async (t) => {
  const { daemon, port } = await opened()
  const asking = port.control.statistics()
  daemon.answer('portStatistics', example('port-statistics.answer').result)
  t.deepEqual(await asking, (example('port-statistics.answer').result as { statistics: unknown }).statistics as never)
  const left = port.control.statistics()
  daemon.hangUp()
  t.is(await left, undefined)
  t.is(await port.control.statistics(), undefined)
  await t.notThrowsAsync(port.control.close())
})

test('an openPort that is aborted before it was sent is never sent', async (t) => {
  const { daemon, network } = await connected()
  daemon.room = 0
  const controller = new AbortController()
  const opening = network.openPort({ ...options, signal: controller.signal })
  const reason = new Error('enough')
  controller.abort(reason)
  t.is(await t.throwsAsync(opening), reason)
  t.false(daemon.held)
  daemon.room = Infinity
  const asking = network.uplinks()
  while (daemon.asked.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  daemon.answer('uplinks', { uplinks: [] })
  t.deepEqual(await asking, [])
  t.deepEqual(daemon.operations(), ['uplinks'])
})

test('a signal that was aborted before asks nothing', async (t) => {
  const { daemon, network } = await connected()
  const reason = new Error('enough')
  t.is(await t.throwsAsync(network.openPort({ ...options, signal: AbortSignal.abort(reason) })), reason)
  t.is(await t.throwsAsync(network.uplinks({ signal: AbortSignal.abort(reason) })), reason)
  t.deepEqual(daemon.asked, [])
})

test('an openPort that is aborted in flight: the port that comes later is given back', async (t) => {
  const { daemon, network } = await connected()
  const controller = new AbortController()
  const opening = network.openPort({ ...options, signal: controller.signal })
  t.true(daemon.held)
  const reason = new Error('enough')
  controller.abort(reason)
  t.is(await t.throwsAsync(opening), reason)
  t.false(daemon.held, 'the process may end')

  const descriptors = new FakeDescriptors()
  daemon.answer('openPort', example('open-port.answer').result, descriptors)
  t.is(descriptors.closed, 1)
  t.deepEqual(daemon.operations(), ['openPort', 'closePort'])
  t.like(daemon.last('closePort'), { port: (example('open-port.answer').result as { info: PortInfo }).info.port })
  await settled()
  t.false(daemon.held)
})

test('an openPort that is aborted in flight and refused later: nothing is left', async (t) => {
  const { daemon, network } = await connected()
  const controller = new AbortController()
  const opening = network.openPort({ ...options, signal: controller.signal })
  controller.abort(new Error('enough'))
  await t.throwsAsync(opening, { message: 'enough' })
  daemon.refuse('openPort', lost)
  await settled()
  t.deepEqual(daemon.operations(), ['openPort'])
  t.false(daemon.closed)
})

test('a socket that cannot be adopted is given back', async (t) => {
  const refused = new XsknetError('ERR_XSKNET_SOCKET_REFUSED', 'no rings')
  const { daemon, network } = await connected({
    make: () => {
      throw refused
    },
  })
  const opening = network.openPort(options)
  daemon.answer('openPort', example('open-port.answer').result, new FakeDescriptors())
  t.is(await t.throwsAsync(opening), refused)
  t.deepEqual(daemon.operations(), ['openPort', 'closePort'])
  t.false(daemon.closed)
})

const NAMESPACE = 31
const XSK = 41

/** The makers of sockets, and what they made. */
function maker({ fails }: { fails?: Error } = {}) {
  const made: FakeDescriptors[] = []
  const places: Parameters<MakeSocket>[] = []
  let letGo = () => {}
  const gate = new Promise<void>((resolve) => {
    letGo = resolve
  })
  const make: MakeSocket = async (...place) => {
    places.push(place)
    await gate
    if (fails) throw fails
    const descriptors = new FakeDescriptors()
    made.push(descriptors)
    const [description] = (example('open-port.answer').result as { sockets: [OwnSocket['description']] }).sockets
    const attempts = [{ hook: 'bind', step: 'copy', code: null, why: 'every device has it' }]
    return { xsk: XSK, descriptors, description, attempts }
  }
  return { make, made, places, letGo }
}

const pinnedAnswer = () => example('open-pinned-port.answer').result as { info: PinnedPortInfo; pinned: object }

/** A pinned port whose socket is being made. */
async function pinning({ signal, fails }: { signal?: AbortSignal; fails?: Error } = {}) {
  const { daemon, network } = await connected()
  const workshop = maker(fails ? { fails } : {})
  const opening = openPinnedPort(network, { ...options, mtu: 1400, frames: 64, signal }, NAMESPACE, workshop.make)
  opening.catch(() => {})
  daemon.answer('openPinnedPort', pinnedAnswer())
  await settled()
  return { daemon, network, opening, port: pinnedAnswer().info.port, ...workshop }
}

test(
  'a pinned port: the namespace goes out, the socket is made where ' + 'the daemon says, shared, and all is told',
  async (t) => {
    const { daemon, opening, made, places, letGo } = await pinning()
    const { info, pinned } = pinnedAnswer()
    t.deepEqual(daemon.asked, [{ version: 2, id: 2, operation: 'openPinnedPort', port: { ...options, mtu: 1400 } }])
    t.deepEqual(daemon.fds.slice(1), [[NAMESPACE]])
    t.like(places, [[{ ...pinned, mtu: info.mtu }, { frames: 64 }]] as never)
    letGo()
    await settled()
    t.deepEqual(daemon.asked[1], { version: 2, id: 3, operation: 'shareSocket', port: info.port })
    t.deepEqual(daemon.fds.slice(2), [[XSK]])
    daemon.answer('shareSocket', {})
    const port = await opened.cast(opening)
    t.deepEqual(port.info, {
      ...info,
      bindMode: 'copy',
      attempts: [...info.attempts, { hook: 'bind', step: 'copy', code: null, why: 'every device has it' }],
    })
    t.is(made[0]?.closed, 0)
    daemon.say({ version: 2, event: 'portLost', port: info.port, error: lost })
    t.deepEqual(port.told, ['ERR_XSKNET_PORT_LOST, put it back'])
  },
)

test('a pinned port cannot have BPF rings, and one that can do without them has those of its socket', async (t) => {
  const { daemon, network } = await connected()
  const { make, places, letGo } = maker()
  const refused = openPinnedPort(network, { ...options, rings: 'bpf' }, NAMESPACE, make)
  await t.throwsAsync(refused, { code: 'ERR_XSKNET_NOT_SUPPORTED', message: 'a pinned port cannot have BPF rings' })
  t.deepEqual(daemon.asked, [])
  const opening = openPinnedPort(network, { ...options, rings: 'auto' }, NAMESPACE, make)
  daemon.answer('openPinnedPort', pinnedAnswer())
  t.deepEqual(daemon.asked, [{ version: 2, id: 2, operation: 'openPinnedPort', port: options }])
  await settled()
  t.like(places, [[pinnedAnswer().pinned, {}]] as never)
  letGo()
  await settled()
  daemon.answer('shareSocket', {})
  t.is((await opened.cast(opening)).info.rings, 'xsk')
})

test('a pinned port whose socket cannot be made is given back', async (t) => {
  const fails = new XsknetError('ERR_XSKNET_SOCKET_REFUSED', 'RLIMIT_MEMLOCK')
  const { daemon, opening, letGo, port } = await pinning({ fails })
  letGo()
  t.is(await t.throwsAsync(opening), fails)
  t.deepEqual(daemon.operations(), ['openPinnedPort', 'closePort'])
  t.like(daemon.last('closePort'), { port })
})

test('a pinned port whose socket the daemon does not take is given back, with its descriptors', async (t) => {
  const { daemon, opening, made, letGo } = await pinning()
  letGo()
  await settled()
  daemon.refuse('shareSocket', { code: 'ERR_XSKNET_SOCKET_REFUSED', message: 'no XSK' })
  await t.throwsAsync(opening, { code: 'ERR_XSKNET_SOCKET_REFUSED' })
  t.is(made[0]?.closed, 1)
  t.deepEqual(daemon.operations(), ['openPinnedPort', 'shareSocket', 'closePort'])
})

test('a pinned port that is lost before it is there tells why, and is not given back', async (t) => {
  const { daemon, opening, made, letGo, port } = await pinning()
  daemon.say({ version: 2, event: 'portLost', port, error: lost })
  letGo()
  await settled()
  daemon.refuse('shareSocket', { code: 'ERR_XSKNET_PORT_UNKNOWN', message: 'no such port' })
  await t.throwsAsync(opening, { code: 'ERR_XSKNET_PORT_LOST' })
  t.is(made[0]?.closed, 1)
  t.deepEqual(daemon.operations(), ['openPinnedPort', 'shareSocket'])
})

test('a pinned port that is aborted before its answer is given back when that comes', async (t) => {
  const { daemon, network } = await connected()
  const { make, places } = maker()
  const controller = new AbortController()
  const opening = openPinnedPort(network, { ...options, signal: controller.signal }, NAMESPACE, make)
  const reason = new Error('enough')
  controller.abort(reason)
  t.is(await t.throwsAsync(opening), reason)
  daemon.answer('openPinnedPort', pinnedAnswer())
  t.deepEqual(daemon.operations(), ['openPinnedPort', 'closePort'])
  t.deepEqual(places, [])
})

test(
  'a pinned port that is aborted before its request was sent sends ' + 'nothing, so that its namespace may be closed',
  async (t) => {
    const { daemon, network } = await connected()
    daemon.room = 0
    const controller = new AbortController()
    const opening = openPinnedPort(network, { ...options, signal: controller.signal }, NAMESPACE, maker().make)
    const reason = new Error('enough')
    controller.abort(reason)
    t.is(await t.throwsAsync(opening), reason)
    daemon.room = Infinity
    await new Promise((resolve) => setTimeout(resolve, 20))
    t.deepEqual(daemon.asked, [])
  },
)

for (const [when, sharing] of [
  ['while its socket is made', false],
  ['while its socket is shared', true],
] as const) {
  test(`a pinned port that is aborted ${when} is given back, with its descriptors`, async (t) => {
    const controller = new AbortController()
    const { daemon, opening, made, letGo } = await pinning({ signal: controller.signal })
    const reason = new Error('enough')
    if (!sharing) controller.abort(reason)
    letGo()
    await settled()
    if (sharing) controller.abort(reason)
    t.is(await t.throwsAsync(opening), reason)
    t.is(made[0]?.closed, 1)
    t.deepEqual(daemon.operations(), ['openPinnedPort', ...(sharing ? ['shareSocket'] : []), 'closePort'] as never)
  })

  test(`close(), or the end of the daemon, ${when}: rejected, descriptors closed`, async (t) => {
    for (const [end, code] of [
      [(network: Network, _: Daemon) => network.close(), 'ERR_XSKNET_NETWORK_CLOSED'],
      [(_: Network, daemon: Daemon) => daemon.hangUp(), 'ERR_XSKNET_DAEMON_GONE'],
    ] as const) {
      const { daemon, network, opening, made, letGo } = await pinning()
      if (sharing) {
        letGo()
        await settled()
      }
      await end(network, daemon)
      letGo()
      await t.throwsAsync(opening, { code })
      t.is(made[0]?.closed, 1)
    }
  })
}

test('options of a pinned port are checked as those of any other', async (t) => {
  const { daemon, network } = await connected()
  const { make } = maker()
  await t.throwsAsync(openPinnedPort(network, { ...options, frames: -1 }, NAMESPACE, make), {
    message: /"options.frames"/,
  })
  await t.throwsAsync(openPinnedPort(network, { ...options, more: 1 } as never, NAMESPACE, make), {
    message: /is not an option/,
  })
  const planned = { code: 'ERR_XSKNET_NOT_SUPPORTED' }
  await t.throwsAsync(openPinnedPort(network, { ...options, queues: 2 }, NAMESPACE, make), planned)
  await t.throwsAsync(openPinnedPort(network, { ...options, umemOf: {} as never }, NAMESPACE, make), planned)
  t.deepEqual(daemon.asked, [])
})

const lies: [
  title: string,
  lie: (daemon: Daemon, descriptors: FakeDescriptors) => void,
  code: string,
  count: number,
][] = [
  [
    'bytes that are not JSON',
    (daemon, fds) => daemon.sayBytes(new Uint8Array([255]), fds),
    'ERR_XSKNET_MESSAGE_MALFORMED',
    1,
  ],
  [
    'a result of another shape',
    (daemon, fds) => daemon.answer('openPort', { info: {} }, fds),
    'ERR_XSKNET_MESSAGE_MALFORMED',
    2,
  ],
  [
    'an answer to what was never asked',
    (daemon, fds) => daemon.say({ version: 2, id: 999, result: {} }, fds),
    'ERR_XSKNET_MESSAGE_MALFORMED',
    2,
  ],
  [
    'an answer to what was answered',
    (daemon, fds) => daemon.say({ version: 2, id: 1, result: {} }, fds),
    'ERR_XSKNET_MESSAGE_MALFORMED',
    2,
  ],
  [
    'a port without descriptors',
    (daemon) => daemon.answer('openPort', example('open-port.answer').result),
    'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
    0,
  ],
  [
    'a port with one',
    (daemon, fds) => daemon.answer('openPort', example('open-port.answer').result, fds),
    'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
    1,
  ],
  [
    'a port with three',
    (daemon, fds) => daemon.answer('openPort', example('open-port.answer').result, fds),
    'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
    3,
  ],
  [
    'a refusal with two',
    (daemon, fds) => daemon.say({ version: 2, id: daemon.last('openPort').id, error: lost }, fds),
    'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
    2,
  ],
  [
    'an event with one',
    (daemon, fds) => daemon.say({ version: 2, event: 'portLost', port: 1, error: lost }, fds),
    'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
    1,
  ],
  [
    'a pinned port with one',
    (daemon, fds) => daemon.answer('openPinnedPort', pinnedAnswer(), fds),
    'ERR_XSKNET_UNEXPECTED_DESCRIPTORS',
    1,
  ],
  [
    'an event that is none',
    (daemon) => daemon.say({ version: 2, event: 'rain' } as never),
    'ERR_XSKNET_MESSAGE_MALFORMED',
    0,
  ],
]
for (const [title, lie, cause, count] of lies) {
  test(`${title} from the daemon: connection and descriptors closed, ports alone`, async (t) => {
    const { daemon, network, port } = await opened()
    const gone = once(network, 'daemonGone')
    const opening = network.openPort(options)
    openPinnedPort(network, options, NAMESPACE, maker().make).catch(() => {})
    const descriptors = new FakeDescriptors(count)
    lie(daemon, descriptors)
    t.is(descriptors.closed, count > 0 ? 1 : 0)
    t.true(daemon.closed)
    await settled()
    t.deepEqual(port.told, ['detached'])
    const error = await t.throwsAsync(opening, { code: 'ERR_XSKNET_DAEMON_GONE' })
    t.is((error?.cause as XsknetError | undefined)?.code as string, cause)
    t.deepEqual(await gone, [error])
  })
}

test(
  'when the daemon ends: what waits rejects, ports go on alone, ' + 'events and closed tell, later calls reject',
  async (t) => {
    const { daemon, network, port } = await opened()
    const told: unknown[] = []
    network.on('daemonGone', ({ code }) => told.push(code)).on('close', () => told.push('close'))
    const waiting = network.uplinks()
    daemon.hangUp(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
    await t.throwsAsync(waiting, { code: 'ERR_XSKNET_DAEMON_GONE', message: /ECONNRESET/ })
    await t.throwsAsync(network.closed, { code: 'ERR_XSKNET_DAEMON_GONE' })
    await t.throwsAsync(network.status(), { code: 'ERR_XSKNET_DAEMON_GONE' })
    t.deepEqual(port.told, ['detached'])
    await network.close()
    t.deepEqual(port.told, ['detached', 'close'])
    await t.throwsAsync(network.status(), { code: 'ERR_XSKNET_NETWORK_CLOSED' })
    t.deepEqual(told, ['ERR_XSKNET_DAEMON_GONE', 'close'])
  },
)

test('an uplink that is gone is an event', async (t) => {
  const { daemon, network } = await connected()
  const event = once(network, 'uplinkGone')
  daemon.say(example('uplink-gone.event') as unknown as Event)
  const [{ uplink, error }] = (await event) as [{ uplink: string; error: XsknetError }]
  t.is(uplink, 'eth0')
  t.true(error instanceof XsknetError)
})

test('what a listener throws is not taken for a lie of the daemon', async (t) => {
  const { daemon, network } = await connected()
  const mistake = new Error('mine')
  network.on('uplinkGone', () => {
    throw mistake
  })
  t.is(
    t.throws(() => daemon.say(example('uplink-gone.event') as unknown as Event)),
    mistake,
  )
  t.false(daemon.closed)
})

test('requests that the kernel takes later are sent later, in order, and no more than 256 wait', async (t) => {
  const { daemon, network } = await connected()
  daemon.room = 0
  const waiting = Array.from({ length: 256 }, (_, port) => network.portStatistics(port))
  await t.throwsAsync(network.uplinks(), { code: 'ERR_XSKNET_LIMIT_REACHED', message: /256 requests/ })
  daemon.room = 100
  while (daemon.room > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  daemon.room = Infinity
  while (daemon.asked.length < 256) await new Promise((resolve) => setTimeout(resolve, 5))
  t.deepEqual(
    daemon.asked.map((request) => (request as { port: number }).port),
    waiting.map((_, port) => port),
  )
  for (const { id } of daemon.asked) daemon.say({ version: 2, id, error: lost })
  for (const { status } of await Promise.allSettled(waiting)) t.is(status, 'rejected')
})

test('close() closes the ports, then the connection, and every call is the same', async (t) => {
  const { daemon, network, port } = await opened()
  const told: string[] = []
  network.on('close', () => told.push('close')).on('daemonGone', () => told.push('daemonGone'))
  const closing = network.close()
  t.is(network.close(), closing)
  t.is(network[Symbol.asyncDispose](), closing)
  t.false(daemon.closed)
  await t.throwsAsync(network.openPort(options), { code: 'ERR_XSKNET_NETWORK_CLOSED' })
  await closing
  await network.closed
  t.true(daemon.closed)
  t.deepEqual(port.told, ['close'])
  t.deepEqual(told, ['close'])
  t.deepEqual(daemon.operations(), ['openPort', 'closePort'])
})

test('close() while a port is being opened: rejected at once, and given back if it still comes', async (t) => {
  const { daemon, network, port } = await opened()
  daemon.undoes = false
  const opening = network.openPort(options)
  const closing = network.close()
  await t.throwsAsync(opening, { code: 'ERR_XSKNET_NETWORK_CLOSED' })
  const descriptors = new FakeDescriptors()
  const { info, sockets } = example('open-port.answer').result as { info: PortInfo; sockets: object[] }
  daemon.answer('openPort', { info: { ...info, port: 77 }, sockets }, descriptors)
  t.is(descriptors.closed, 1)
  t.like(daemon.last('closePort'), { port: 77 })
  for (const { id, operation } of [...daemon.asked])
    if (operation === 'closePort') daemon.say({ version: 2, id, result: {} })
  await closing
  t.deepEqual(port.told, ['close'])
})

test('close() while a port is closing by itself waits for both', async (t) => {
  const { daemon, network, port } = await opened()
  daemon.undoes = false
  const first = port.close()
  const closing = network.close()
  await settled()
  t.false(daemon.closed)
  for (const { id, operation } of [...daemon.asked])
    if (operation === 'closePort') daemon.say({ version: 2, id, result: {} })
  await Promise.all([first, closing])
  t.true(daemon.closed)
})

test.serial('close() does not wait for ever for a daemon that hangs', async (t) => {
  const { daemon, network } = await opened()
  daemon.undoes = false
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const closing = network.close()
  mock.timers.tick(4999)
  await settled()
  t.false(daemon.closed)
  mock.timers.tick(1)
  await closing
  t.true(daemon.closed)
})

test('a daemon that ends while the network closes causes no event', async (t) => {
  const { daemon, network } = await opened()
  daemon.undoes = false
  network.on('daemonGone', () => t.fail())
  const closing = network.close()
  await settled()
  daemon.hangUp()
  await closing
  await t.notThrowsAsync(network.closed)
})

test('ref() keeps the process for the connection, unref() only for requests', async (t) => {
  const { daemon, network } = await connected()
  t.is(network.ref(), network)
  t.true(daemon.held)
  const asking = network.uplinks()
  daemon.answer('uplinks', { uplinks: [] })
  await asking
  t.true(daemon.held)
  network.unref()
  t.false(daemon.held)
})

test('a port changes its flows by its number, and refuses unknown options', async (t) => {
  const { daemon, port } = await opened()
  const flows = ['udp dst port 53']
  const claiming = port.control.changeFlows('claimFlows', { flows, overrideHost: true }, {})
  t.like(daemon.last('claimFlows'), { port: port.info.port, flows, overrideHost: true })
  daemon.answer('claimFlows', {})
  await claiming
  const replacing = port.control.changeFlows('replaceFlows', { flows }, {})
  daemon.refuse('replaceFlows', { code: 'ERR_XSKNET_FLOW_TAKEN', message: 'in conflict' })
  await t.throwsAsync(replacing, { code: 'ERR_XSKNET_FLOW_TAKEN' })
  await t.throwsAsync(port.control.changeFlows('releaseFlows', { flows: Array(257).fill('udp') }, {}), {
    code: 'ERR_OUT_OF_RANGE',
  })
  await t.throwsAsync(port.control.changeFlows('releaseFlows', { flows: 'udp' as unknown as string[] }, {}), {
    code: 'ERR_INVALID_ARG_TYPE',
  })
})

test('a port joins and leaves groups by its number', async (t) => {
  const { daemon, port } = await opened()
  const groups = ['broadcast', '224.0.0.251']
  const joining = port.control.joinGroups(groups, {})
  t.like(daemon.last('joinGroups'), { port: port.info.port, groups })
  const attempts = [{ hook: 'uplink', step: 'membership of 224.0.0.251', code: 'ENODEV', why: 'no IPv4 there' }]
  daemon.answer('joinGroups', { attempts })
  t.deepEqual(await joining, attempts)
  const leaving = port.control.leaveGroups(groups, {})
  daemon.answer('leaveGroups', {})
  await leaving
  await t.throwsAsync(port.control.joinGroups(Array(257).fill('broadcast'), {}), { code: 'ERR_OUT_OF_RANGE' })
  await t.throwsAsync(port.control.joinGroups([7 as never], {}), { code: 'ERR_INVALID_ARG_TYPE' })
})
