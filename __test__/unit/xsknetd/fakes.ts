import { XsknetError } from 'xsknet'
import {
  type Answer,
  type Attempt,
  type Event,
  encode,
  type PinnedPortInfo,
  PROTOCOL_VERSION,
  readReply,
  type UplinkInfo,
  type UplinkStatistics,
} from 'xsknet/protocol'
import type { Log, LogFields } from '../../../packages/xsknetd/src/log/log.js'
import type {
  HostChange,
  Instance,
  Loss,
  OpenedPinnedPort,
  OpenedPort,
  PortTerms,
  Refusals,
  Told,
} from '../../../packages/xsknetd/src/platform/instance.js'
import type { Connection, ConnectionEnd, Descriptors } from '../../../packages/xsknetd/src/platform/transport.js'
import { AddressRange } from '../../../packages/xsknetd/src/policy/address.js'
import type { Credentials } from '../../../packages/xsknetd/src/policy/credentials.js'
import type { Grant, Rates } from '../../../packages/xsknetd/src/policy/grant.js'

export const MiB = 2 ** 20

/** More memory than any test asks for. */
export const PLENTY = { bytes: 2 ** 40, key: '`memory` under [daemon]' }

export const user = (uid: number, gid = uid, groups: number[] = []): Credentials => ({
  pid: 1000 + uid,
  uid,
  gid,
  groups,
})
export const ROOT = user(0)
export const ALICE = user(1001)
export const BOB = user(1002)

const THOUSAND = { perSecond: 1000, burst: 1000 }
/** What is not said of rates in a grant. */
export const RATES: Rates = { broadcast: THOUSAND, multicast: THOUSAND, unknownUnicast: THOUSAND, copies: THOUSAND }

/** A full grant for {@link ALICE}; a test changes what it is about. */
export function grant({
  addresses = ['192.0.2.8/29', '2001:db8::/64'],
  ...changed
}: Partial<Omit<Grant, 'addresses'>> & { addresses?: string[] } = {}): Grant {
  return {
    holder: { uid: ALICE.uid },
    uplinks: ['eth0'],
    vlans: [null],
    ports: 2,
    queues: 1,
    ringSize: 4096,
    memory: 32 * MiB,
    pinned: false,
    innerTags: false,
    routing: false,
    busyPoll: false,
    hugePages: false,
    bpfRings: false,
    uplinkMac: false,
    flows: [],
    overrideHost: false,
    groups: [],
    tap: false,
    promiscuous: false,
    rates: RATES,
    origin: 'the 1st [[grant]] of test.toml',
    ...changed,
    addresses: addresses.map((text) => new AddressRange(text)),
  }
}

/** What was logged. */
export class Record {
  readonly lines: { event: string; fields: LogFields }[] = []
  readonly log: Log = (event, fields = {}) => void this.lines.push({ event, fields })

  of(event: string): LogFields[] {
    return this.lines.flatMap((line) => (line.event === event ? [line.fields] : []))
  }
}

export class FakeDescriptors implements Descriptors {
  length: number
  /** What became of them first. */
  fate: 'open' | 'closed' | 'taken' = 'open'

  constructor(length = 2) {
    this.length = length
  }

  get closed(): boolean {
    return this.fate === 'closed'
  }

  close(): void {
    this.#end('closed')
  }

  /** As the binding does: it empties what it takes over. */
  take(): number {
    const taken = this.length
    this.#end('taken')
    return taken
  }

  #end(fate: 'closed' | 'taken'): void {
    this.length = 0
    if (this.fate === 'open') this.fate = fate
  }
}

const counters = { seen: 0, passed: 0, toPort: 0, toUplink: 0, toSocket: 0, dropped: {} }
const socket = {
  rxDropped: 0,
  rxInvalidDescs: 0,
  txInvalidDescs: 0,
  rxRingFull: 0,
  rxFillRingEmptyDescs: 0,
  txRingEmptyDescs: 0,
}
const rings = { received: 0, noChunk: 0, invalidChunk: 0, sent: 0 }
const pair = { innerTransmitDrops: 0, outerTransmitDrops: 0, outerRefusedRedirects: 0 }
export const noStatistics: UplinkStatistics = {
  program: counters,
  unattributed: counters,
  transmitDrops: 0,
  refusedRedirects: 0,
  announced: 0,
  closed: { guard: counters, copies: counters, program: counters, socket, rings, ...pair },
}

type InstanceRequest = Parameters<Instance['openPort']>[1]
type PinnedInstanceRequest = Parameters<Instance['openPinnedPort']>[1]

/** A host in memory. Whatever is opened or closed waits at the gate while that is shut. */
export class FakeInstance implements Instance {
  readonly did: string[] = []
  readonly requests: InstanceRequest[] = []
  /** Of all ports, pinned ones too, in the order in which they were asked for. */
  readonly terms: PortTerms[] = []
  readonly handedOut: FakeDescriptors[] = []
  readonly open = new Set<number>()
  /** Pinned ports, and for whom. */
  readonly pinned: {
    request: PinnedInstanceRequest
    owner: { uid: number; gid: number }
    own: FakeDescriptors
    announced: boolean
  }[] = []
  /** Closed ports of whose sockets somebody keeps a descriptor, and what tells that they are gone. */
  readonly kept = new Map<number, () => void>()
  /** Somebody keeps a descriptor of each port that is closed from now on. */
  keeps = false
  /** Its uplinks transmit redirected frames, so that ports can have BPF rings. */
  transmits = true
  readonly #asked = new Set<number>()
  /** Ports whose sockets were shared. */
  readonly shared: number[] = []
  /** The next call of this name fails with it. */
  readonly failures = new Map<string, unknown>()
  /** What the kernel tells that nothing is lost by. */
  change: (change: HostChange) => void = () => {}
  #lose: (loss: Loss) => void = () => {}
  #next = 1
  #gate: Promise<void> = Promise.resolve()
  #waiting = 0

  async begin(name: string | undefined): Promise<string> {
    await this.#do('begin', name ?? '')
    return name ?? 'embedded-1-0'
  }

  onLoss(listener: (loss: Loss) => void): void {
    this.#lose = listener
  }

  lose(loss: Loss): void {
    this.#lose(loss)
  }

  onChange(listener: (change: HostChange) => void): void {
    this.change = listener
  }

  /** Holds what is asked from now on, until the returned function is called. */
  hold(): () => void {
    let letGo = () => {}
    this.#gate = new Promise((resolve) => {
      letGo = resolve
    })
    return letGo
  }

  /** How many calls have begun and not ended. */
  get waiting(): number {
    return this.#waiting
  }

  async manage(uplink: string, mode: string): Promise<UplinkInfo> {
    await this.#do('manage', `${uplink} ${mode}`)
    const mac = '02:00:00:00:00:01'
    return { uplink, device: uplink, index: 7, mac, mtu: 1500, link: 'up', mode: 'native', attempts: [] }
  }

  hugePageBytes(): number {
    return 2 << 20
  }

  /** Of each port that was asked for: of which uplink, and what. */
  readonly checked: [uplink: string | undefined, request: object][] = []

  checkPort(uplink: string | undefined, request: object): void {
    this.checked.push([uplink, request])
    if (this.failures.has('check')) throw this.failures.get('check')
  }

  checkPinnedPort(uplink: string | undefined, request: object): void {
    this.checkPort(uplink, request)
  }

  async openPort(uplink: string, request: InstanceRequest, terms: PortTerms): Promise<OpenedPort> {
    this.requests.push(request)
    this.terms.push(terms)
    await this.#do('openPort', uplink)
    const { key, info } = this.#made(uplink, request)
    const { queues = 0, frames = 0, frameSize = 0, ringSize = 0 } = request
    const slots = { rx: ringSize, tx: ringSize, fill: ringSize, completion: ringSize }
    const bpf = this.transmits && (request.rings ?? 'xsk') !== 'xsk'
    const positions = { rxSlots: ringSize, txSlots: ringSize, rxPosition: 1, txPosition: 1 }
    const rings = { ...positions, posted: [[1, 63]] as [number, number][] }
    const socket = {
      frameSize,
      frames,
      headroom: 0,
      ...slots,
      fillTarget: 1,
      inFill: [],
      multiBuffer: false,
      hugePages: false,
      ...(bpf && { rings }),
      bindMode: 'copy' as const,
      counted: { received: 1, sent: 1, completed: 1 },
    }
    const takeDescriptors = () => {
      const descriptors = new FakeDescriptors(request.umemOf ? 1 : (bpf ? 5 : 2) * queues)
      this.handedOut.push(descriptors)
      return descriptors
    }
    const each = Array.from({ length: queues }, (_, at) => at)
    const queuePairs = each.map((at) => ({ outer: `o${key}-${at}`, inner: `i${key}-${at}` }))
    const became = { ...info, queuePairs, rings: bpf ? ('bpf' as const) : info.rings, bindMode: 'copy' as const }
    return { key, info: became, sockets: each.map(() => socket), takeDescriptors }
  }

  async openPinnedPort(
    ...[uplink, request, terms, gid, namespace, own]: Parameters<Instance['openPinnedPort']>
  ): Promise<OpenedPinnedPort> {
    for (const descriptors of [namespace, own] as FakeDescriptors[]) {
      const taken = descriptors.take()
      if (taken !== 1) throw new Error(`${taken} namespaces were handed down`)
    }
    this.terms.push(terms)
    const pinned = { request, owner: { uid: terms.uid, gid }, own: own as FakeDescriptors, announced: false }
    this.pinned.push(pinned)
    await this.#do('openPinnedPort', uplink)
    const { key, info } = this.#made(uplink, request)
    const announce = () => {
      pinned.announced = true
    }
    return {
      key,
      info,
      pinned: { xsks: `/sys/fs/bpf/xsknet/lab/v1/${uplink}/port-${key}/xsks`, device: `i${key}`, queue: 0 },
      announce,
    }
  }

  async shareSocket(port: number, socket: Descriptors): Promise<void> {
    const taken = (socket as FakeDescriptors).take()
    if (taken !== 1) throw new Error(`${taken} sockets were handed down`)
    await this.#do('shareSocket', `${port}`)
    this.shared.push(port)
  }

  #made(
    uplink: string,
    { name, addresses, vlan, groups = [] }: PinnedInstanceRequest,
  ): { key: number; info: PinnedPortInfo } {
    const key = this.#next++
    this.open.add(key)
    const info: PinnedPortInfo = {
      port: key,
      name: name ?? `port-${key}`,
      uplink,
      mac: '02:00:00:00:00:10',
      addresses,
      vlan: vlan ?? null,
      mtu: 1500,
      outer: `o${key}`,
      inner: `i${key}`,
      queuePairs: [{ outer: `o${key}`, inner: `i${key}` }],
      guardMode: 'native',
      portMode: 'native',
      rings: 'xsk',
      groups: [...groups],
      attempts: [],
    }
    return { key, info }
  }

  async changeFlows(port: number, change: string, flows: readonly string[], overrideHost: boolean): Promise<void> {
    if (!this.open.has(port)) throw new Error(`port ${port} is closed`)
    await this.#do('changeFlows', `${port} ${change} ${flows.join(', ')}${overrideHost ? ' over the host' : ''}`)
  }

  async changeGroups(port: number, change: string, groups: readonly string[]): Promise<Attempt[]> {
    if (!this.open.has(port)) throw new Error(`port ${port} is closed`)
    await this.#do('changeGroups', `${port} ${change} ${groups.join(', ')}`)
    return []
  }

  /** As if each expression contained itself alone. */
  async flowsOutside(flows: readonly string[], granted: readonly string[]): Promise<string[]> {
    const failure = this.failures.get('flowsOutside')
    if (failure !== undefined) throw failure
    return flows.filter((flow) => !granted.includes(flow))
  }

  async closePort(port: number): Promise<void> {
    if (!this.open.delete(port)) throw new Error(`port ${port} is closed a second time`)
    await this.#do('closePort', `${port}`)
  }

  freed(port: number): Promise<void> {
    if (this.open.has(port) || this.#asked.has(port)) throw new Error(`port ${port} is asked for too early, or again`)
    this.#asked.add(port)
    if (!this.keeps) return Promise.resolve()
    return new Promise((resolve) => this.kept.set(port, resolve))
  }

  /** The last descriptor of a closed port's sockets was closed. */
  free(port: number): void {
    const resolve = this.kept.get(port)
    if (!resolve) throw new Error(`nobody waits for port ${port}`)
    this.kept.delete(port)
    resolve()
  }

  async portStatistics(port: number) {
    await this.#do('portStatistics', `${port}`)
    return noStatistics.closed
  }

  async uplinkStatistics(uplink: string) {
    await this.#do('uplinkStatistics', uplink)
    return noStatistics
  }

  /** What an explanation answers; a test changes it. */
  told: Told = { uplink: 'eth0', counter: 'passed', rule: 'unclaimed', target: null, steps: [] }

  /** What an answer about refused frames has; a test changes it. */
  refused: Refusals = [{ time: 1, reason: 'source_ip', length: 60, bytes: '00' }]

  async explainArrival(uplink: string, packet: Uint8Array) {
    await this.#do('explainArrival', `${uplink} ${packet.length}`)
    return this.told
  }

  async explainSending(port: number, packet: Uint8Array) {
    await this.#do('explainSending', `${port} ${packet.length}`)
    return this.told
  }

  async refusals(port: number) {
    await this.#do('refusals', `${port}`)
    return this.refused
  }

  release(uplink: string): Promise<void> {
    return this.#do('release', uplink)
  }

  close(): Promise<void> {
    return this.#do('close', '')
  }

  closeNow(): void {
    this.did.push('closeNow')
  }

  async #do(name: string, what: string): Promise<void> {
    this.#waiting += 1
    await this.#gate
    this.#waiting -= 1
    this.did.push(`${name} ${what}`.trim())
    const failure = this.failures.get(name)
    this.failures.delete(name)
    if (failure !== undefined) throw failure
  }
}

/** A connection in memory. */
export class FakeConnection implements Connection {
  readonly credentials: Credentials
  longest = 65_536
  sendsDescriptors = true
  readonly replies: (Answer | Event)[] = []
  /** What came with the replies, in their order. */
  readonly descriptors: (Descriptors | undefined)[] = []
  /** What came with the requests that had any. */
  readonly brought: FakeDescriptors[] = []
  closed = false
  /** False: the client does not read and is cut off. */
  takes = true
  dealtWith = 0
  #onMessage: Parameters<Connection['start']>[0] = () => {}
  #onEnd: Parameters<Connection['start']>[1] = () => {}
  #id = 0

  constructor(credentials: Credentials) {
    this.credentials = credentials
  }

  start(...[onMessage, onEnd]: Parameters<Connection['start']>): void {
    this.#onMessage = onMessage
    this.#onEnd = onEnd
  }

  send(message: Uint8Array, descriptors?: Descriptors): boolean {
    if (!this.takes || this.closed) return false
    // What the daemon says has to be as the protocol has it.
    this.replies.push(readReply(message))
    this.descriptors.push(descriptors)
    return true
  }

  namespace(): FakeDescriptors {
    return new FakeDescriptors(1)
  }

  done(): void {
    this.dealtWith += 1
  }

  close(): void {
    this.closed = true
  }

  /** The connection ends: unless told otherwise, because the client is gone. */
  end(end: ConnectionEnd = { kind: 'gone', reason: 'the client has gone' }): void {
    this.#onEnd(end)
  }

  /** What came from the client, whatever it is. */
  deliver(message: string | Uint8Array | null, length?: number, descriptors = 0): void {
    const bytes = typeof message === 'string' ? new TextEncoder().encode(message) : message
    const brought = new FakeDescriptors(descriptors)
    if (descriptors > 0) this.brought.push(brought)
    this.#onMessage(bytes, length ?? bytes?.length ?? 0, brought)
  }

  /** A request, and the number it got. */
  ask(operation: string, parameters: object = {}, descriptors = 0): number {
    this.#id += 1
    const message = encode({ version: PROTOCOL_VERSION, id: this.#id, operation, ...parameters } as never)
    this.deliver(message, message.length, descriptors)
    return this.#id
  }

  /** A request's good result. */
  async result<T = unknown>(operation: string, parameters: object = {}, descriptors = 0): Promise<T> {
    const answer = await this.answer(this.ask(operation, parameters, descriptors))
    if (!('result' in answer)) throw new Error(`${operation} was refused: ${JSON.stringify(answer)}`)
    return answer.result as T
  }

  /** The code with which a request was refused. */
  async refusal(operation: string, parameters: object = {}, descriptors = 0): Promise<string> {
    const answer = await this.answer(this.ask(operation, parameters, descriptors))
    if (!('error' in answer)) throw new Error(`${operation} was not refused: ${JSON.stringify(answer)}`)
    return answer.error.code
  }

  async answer(id: number | null): Promise<Answer> {
    let found: Answer | undefined
    await until(`an answer to ${id}`, () => {
      found = this.replies.find((reply): reply is Answer => 'id' in reply && reply.id === id)
      return found !== undefined
    })
    return found as Answer
  }

  get events(): Event[] {
    return this.replies.filter((reply): reply is Event => 'event' in reply)
  }
}

/** Lets everything go on that can: fakes wait for nothing but their gates. */
export const rest = () => new Promise<void>((resolve) => setImmediate(resolve))

/** Lets promises run until it holds. No timers, so that they may be mocked. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000; turn++) {
    if (holds()) return
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  throw new Error(`it did not come to ${what}`)
}

export const refusal = (code: ConstructorParameters<typeof XsknetError>[0], message = 'no') =>
  new XsknetError(code, message)
