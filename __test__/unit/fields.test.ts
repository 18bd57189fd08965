import { readFileSync } from 'node:fs'
import test from 'ava'
import type { XsknetError } from 'xsknet'
import { type Operation, readRequest, readResult } from 'xsknet/protocol'
import { example } from '../helpers/examples.js'
import { root } from '../helpers/workspace.js'

/** The members of each interface that a binding's generated declarations have. */
function interfaces(name: string): Map<string, string[]> {
  const text = readFileSync(`${root}packages/${name}/native/binding.d.ts`, 'utf8')
  return new Map(
    [...text.matchAll(/^export interface (\w+) \{\n(.*?)^\}/gms)].map(([, type, body]) => [
      type as string,
      [...(body as string).matchAll(/^ {2}(\w+)\??:/gm)].map(([, member]) => member as string),
    ]),
  )
}

const daemon = interfaces('xsknetd')
const client = interfaces('xsknet')

/** A place in an example of docs/protocol/. */
interface Place {
  /** The example's name. */
  readonly of: string
  /** Where in its request, or in its answer's result. */
  readonly at: readonly (string | number)[]
}

const UNKNOWN = 'unknownToTheSchema'

/** The keys that the schema allows in a place: its refusal of an unknown one lists them. */
function keysAt({ of, at }: Place): string[] {
  const message = example(of)
  const result = 'result' in message ? message.result : undefined
  const table = at.reduce(
    (inside: unknown, key) => (inside as Record<string | number, unknown>)[key],
    result ?? message,
  )
  ;(table as Record<string, unknown>)[UNKNOWN] = 0
  try {
    if (result === undefined) readRequest(new TextEncoder().encode(JSON.stringify(message)))
    else readResult(operationOf(of), result)
  } catch (error) {
    const { message: told, hint = '' } = error as XsknetError
    const [, list] = /^The protocol has the keys (.*) there\.$/.exec(hint) ?? []
    if (list !== undefined && told.includes(UNKNOWN)) return list.split(', ')
    throw error
  }
  throw new Error(`an unknown key was accepted in ${of}`)
}

/** `open-port.answer` is of `openPort`. */
function operationOf(name: string): Operation {
  return example(name.replace('.answer', '.request')).operation as Operation
}

/** Members that one side has on purpose, and why. */
type Difference = Record<string, string>

interface Row {
  /** The interface in the declarations of the daemon's binding. */
  readonly binding: string
  /** The same in the messages. */
  readonly wire: Place
  readonly wireOnly?: Difference
  readonly bindingOnly?: Difference
}

const DECIDED_BEFORE: Difference = {
  uplink: 'an argument beside the request',
  whenDown: 'the daemon waits for the link before it calls the binding',
}
const OF_THE_CLIENT = 'of the socket, which the client of a pinned port makes itself'
const SOCKET_OPTIONS: Difference = {
  frames: OF_THE_CLIENT,
  frameSize: OF_THE_CLIENT,
  headroom: OF_THE_CLIENT,
  ringSize: OF_THE_CLIENT,
  hugePages: OF_THE_CLIENT,
  multiBuffer: OF_THE_CLIENT,
  zeroCopy: OF_THE_CLIENT,
  busyPoll: OF_THE_CLIENT,
}

const request = (of: string, ...at: Place['at']): Place => ({ of: `${of}.request`, at: ['port', ...at] })
const answer = (of: string, ...at: Place['at']): Place => ({ of: `${of}.answer`, at })

const rows: Record<string, Row> = {
  PortRequest: { binding: 'PortRequest', wire: request('open-port'), wireOnly: DECIDED_BEFORE },
  PinnedPortRequest: {
    binding: 'PortRequest',
    wire: request('open-pinned-port'),
    wireOnly: DECIDED_BEFORE,
    bindingOnly: {
      ...SOCKET_OPTIONS,
      queues: 'a pinned port has one',
      rings: 'a pinned port has those of its socket',
      tap: 'copies are written into BPF rings of the daemon',
      umemOf: 'its UMEM is not one of the daemon',
    },
  },
  'busyPoll of a PortRequest': { binding: 'BusyPoll', wire: request('open-port', 'busyPoll') },
  'tap of a PortRequest': { binding: 'TapRequest', wire: request('open-port-tap', 'tap') },
  'umemOf of a PortRequest': { binding: 'UmemOf', wire: request('open-port-shared', 'umemOf') },
  PortInfo: { binding: 'PortInfo', wire: answer('open-port', 'info') },
  PinnedPortInfo: {
    binding: 'PortInfo',
    wire: answer('open-pinned-port', 'info'),
    bindingOnly: { bindMode: 'absent where the client makes the socket' },
  },
  QueuePair: { binding: 'QueuePair', wire: answer('open-port', 'info', 'queuePairs', 0) },
  Attempt: { binding: 'Attempt', wire: answer('open-port', 'info', 'attempts', 0) },
  Pinned: { binding: 'Pin', wire: answer('open-pinned-port', 'pinned') },
  SocketDescription: { binding: 'SocketDescription', wire: answer('open-port', 'sockets', 0) },
  'counted of a SocketDescription': { binding: 'Counted', wire: answer('open-port', 'sockets', 0, 'counted') },
  'rings of a SocketDescription': {
    binding: 'RingsDescription',
    wire: answer('open-port-rings', 'sockets', 0, 'rings'),
  },
  UplinkInfo: { binding: 'UplinkInfo', wire: answer('uplinks', 'uplinks', 0) },
  PortStatistics: { binding: 'PortStatistics', wire: answer('port-statistics', 'statistics') },
  Counters: { binding: 'Counters', wire: answer('port-statistics', 'statistics', 'guard') },
  KernelStatistics: { binding: 'KernelStatistics', wire: answer('port-statistics', 'statistics', 'socket') },
  'rings of PortStatistics': {
    binding: 'RingStatistics',
    wire: answer('uplink-statistics', 'statistics', 'closed', 'rings'),
  },
  UplinkStatistics: { binding: 'UplinkStatistics', wire: answer('uplink-statistics', 'statistics') },
  'closed of an UplinkStatistics': {
    binding: 'PortStatistics',
    wire: answer('uplink-statistics', 'statistics', 'closed'),
  },
}

const without = (keys: readonly string[], some: readonly string[]) => keys.filter((key) => !some.includes(key)).sort()

for (const [name, { binding, wire, wireOnly = {}, bindingOnly = {} }] of Object.entries(rows)) {
  test(`${name} has the same fields in the protocol and in the daemon's binding`, (t) => {
    const [keys, members] = [keysAt(wire), daemon.get(binding) ?? []]
    t.deepEqual(without(keys, members), Object.keys(wireOnly).sort(), 'in the protocol only')
    t.deepEqual(without(members, keys), Object.keys(bindingOnly).sort(), "in the daemon's binding only")
  })
}

test('the options of the socket of a pinned port are those of a port that are not of the daemon', (t) => {
  const ofSocket = without(keysAt(request('open-port')), keysAt(request('open-pinned-port')))
  t.deepEqual(ofSocket, [...Object.keys(SOCKET_OPTIONS), 'queues', 'rings', 'tap', 'umemOf'].sort())
  const place = [...keysAt(answer('open-pinned-port', 'pinned')), 'mtu']
  t.deepEqual([...(daemon.get('PinnedSocketRequest') ?? [])].sort(), [...place, ...Object.keys(SOCKET_OPTIONS)].sort())
})

test("the client's binding adopts what the daemon describes", (t) => {
  const description = keysAt(answer('open-port', 'sockets', 0))
  // The client looks the UMEM up before it calls the binding.
  t.deepEqual([...(client.get('SocketDescription') ?? [])].sort(), without(description, ['umemOf']))
  const counted = keysAt(answer('open-port', 'sockets', 0, 'counted'))
  t.deepEqual([...(client.get('Counted') ?? [])].sort(), [...counted].sort())
  const rings = keysAt(answer('open-port-rings', 'sockets', 0, 'rings'))
  t.deepEqual([...(client.get('RingsDescription') ?? [])].sort(), [...rings].sort())
})

test("both bindings have the kernel's statistics of a socket with the same members", (t) => {
  t.true((client.get('KernelStatistics') ?? []).length > 0)
  t.deepEqual([...(client.get('KernelStatistics') ?? [])].sort(), [...(daemon.get('KernelStatistics') ?? [])].sort())
})
