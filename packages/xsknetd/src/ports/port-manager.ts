import { XsknetError } from 'xsknet'
import type {
  Attempt,
  GoneUplink,
  Parameters,
  Pinned,
  PinnedPortInfo,
  PinnedPortRequest,
  PortEntry,
  PortInfo,
  PortRequest,
  PortStatistics,
  SocketDescription,
  UplinkInfo,
  UplinkStatistics,
} from 'xsknet/protocol'
import { errorFields, type Log } from '../log/log.js'
import type { HostChange, Instance, Loss, OpenedPort, PortTerms, Refusals, UplinkMode } from '../platform/instance.js'
import type { Descriptors } from '../platform/transport.js'
import { type Address, parseAddress } from '../policy/address.js'
import type { Credentials } from '../policy/credentials.js'
import type { Grant } from '../policy/grant.js'
import { parseGroups } from '../policy/group.js'
import { BPF_RING_BYTES } from '../policy/limits.js'
import type { MemoryLimit } from '../policy/memory-limit.js'
import {
  checkMemory,
  grantsFor,
  mayUse,
  permit,
  permitChange,
  type RequestedPort,
  type Usage,
  unknownUplink,
} from '../policy/policy.js'
import type { Client } from './client.js'
import { type Explained, type Known, ofArrival, ofSending, whole } from './explanations.js'
import { featuresOf, ipsOf, memoryOf, requestedPort, sharedSizesOf, sizesOf } from './port-request.js'

/** An opened port, for its client. */
export interface GrantedPort {
  readonly info: PortInfo
  readonly sockets: SocketDescription[]
  readonly descriptors: Descriptors
}

/** An opened pinned port, for its client. */
export interface GrantedPinnedPort {
  readonly info: PinnedPortInfo
  readonly pinned: Pinned
}

/** A port that the instance has built. */
interface CreatedPort {
  readonly key: number
  readonly info: PinnedPortInfo
}

/** What a client gets besides the info. */
type HandOver = Pick<GrantedPort, 'sockets' | 'descriptors'> | Pick<GrantedPinnedPort, 'pinned'>

/** How a port of one kind is built and handed over. From `handOver` on, a loss of the port is reported. */
interface OpeningSteps<C extends CreatedPort, H extends HandOver> {
  build(addresses: string[], terms: PortTerms): Promise<C>
  handOver(created: C): H
  readonly whenDown: PortRequest['whenDown']
}

interface OpenPort {
  readonly info: PinnedPortInfo
  readonly client: Client
  readonly requested: RequestedPort
  readonly umem: UmemUsage
  /** The groups that it is in, in canonical notation. */
  readonly groups: Set<string>
}

/** The UMEM of one or more ports of a client. It counts once, until the sockets of the last of them are gone. */
interface UmemUsage {
  /** With those of BPF rings. */
  bytes: number
  /** Ports whose sockets still exist. */
  ports: number
  /** Ports that have not been closed. */
  open: number
}

/** A closed port whose sockets may still be open somewhere. Until they are gone, it counts as its user's. */
interface LingeringPort {
  readonly uid: number
  readonly umem: UmemUsage
}

/** An opening that waits for lingering ports to go or for an uplink to come up. */
interface PendingOpening {
  readonly client: Client
  wake(): void
}

/** A request that changes the flows of a port. */
export type FlowRequest = {
  [O in 'claimFlows' | 'releaseFlows' | 'replaceFlows']: { operation: O } & Parameters<O>
}['claimFlows' | 'releaseFlows' | 'replaceFlows']

const FLOW_CHANGES = { claimFlows: 'claim', releaseFlows: 'release', replaceFlows: 'replace' } as const

const NOTHING: Usage = { ports: 0, memory: 0 }

/** How long an opening waits for lingering ports that use up a limit. */
const LINGERING_TIMEOUT_MS = 2000

/** Opens and closes the ports of all clients, and manages the uplinks. */
export class PortManager {
  readonly #instance: Instance
  #grants: readonly Grant[]
  readonly #memory: MemoryLimit
  readonly #log: Log
  readonly #clients = new Set<Client>()
  readonly #uplinks = new Map<string, UplinkInfo>()
  /** Uplinks that are gone, and when they went (`performance.now()`). */
  readonly #gone = new Map<string, number>()
  readonly #ports = new Map<number, OpenPort>()
  /** By user ID. Includes ports that are being opened or closed. */
  readonly #usageByUser = new Map<number, Usage>()
  /** Ports that are being closed, with their user, and uplinks that are being released, without one. */
  readonly #closing = new Map<Promise<void>, number | undefined>()
  readonly #opening = new Map<Promise<unknown>, Client>()
  readonly #lingering = new Set<LingeringPort>()
  readonly #waiting = new Set<PendingOpening>()
  #closed: Promise<void> | undefined

  constructor(instance: Instance, grants: readonly Grant[], memory: MemoryLimit, log: Log) {
    this.#instance = instance
    this.#grants = grants
    this.#memory = memory
    this.#log = log
  }

  /** Applies other grants to requests from now on. Open ports keep what they were granted. */
  replaceGrants(grants: readonly Grant[]): void {
    this.#grants = grants
  }

  async manage(uplinks: readonly string[], mode: UplinkMode): Promise<void> {
    this.#instance.onChange((change) => this.#applyChange(change))
    this.#instance.onLoss((loss) => this.#handleLoss(loss))
    for (const uplink of uplinks) {
      const info = await this.#instance.manage(uplink, mode)
      this.#uplinks.set(uplink, info)
      this.#log('uplink-managed', { uplink, mac: info.mac, mtu: info.mtu, link: info.link, mode: info.mode })
    }
  }

  /** The number of open ports: all for root, else the user's own. */
  portCountFor({ uid }: Credentials): number {
    if (uid === 0) return this.#ports.size
    return [...this.#ports.values()].filter(({ client }) => client.credentials.uid === uid).length
  }

  /** From now on the client may open ports and is notified of changes. */
  join(client: Client): void {
    this.#clients.add(client)
  }

  /** Closes the ports of a client that has disconnected, those that are being opened included. */
  async leave(client: Client): Promise<void> {
    this.#clients.delete(client)
    this.#wake((waiting) => waiting === client)
    const left = [...this.#ports.values()].filter((openPort) => openPort.client === client)
    await Promise.all(left.map((openPort) => this.#close(openPort, 'the client is gone')))
  }

  /** The uplinks that the user may know of. */
  uplinksFor(who: Credentials): UplinkInfo[] {
    return [...this.#uplinks.values()].filter(({ uplink }) => mayUse(this.#grants, who, uplink))
  }

  /** The uplinks that are gone and that the user was allowed to use. */
  goneFor(who: Credentials): GoneUplink[] {
    const gone = [...this.#gone].filter(([uplink]) => mayUse(this.#grants, who, uplink))
    return gone.map(([uplink, when]) => ({ uplink, seconds: Math.floor((performance.now() - when) / 1000) }))
  }

  async openPort(client: Client, request: PortRequest): Promise<GrantedPort> {
    if (request.umemOf) return this.#openShared(client, request, request.umemOf.port)
    // Copies are written into BPF rings.
    const { uplink, whenDown, rings = request.tap ? 'bpf' : 'xsk', ...rest } = request
    const flows = await this.#requestedFlows(client, uplink, request)
    const sizes = sizesOf(request, () => this.#instance.hugePageBytes())
    const { queues, ringSize } = sizes
    const requestedWith = (bpfRings: boolean) => {
      const memory = memoryOf(sizes, bpfRings)
      const features = { ...featuresOf(request), bpfRings, ...flows }
      return requestedPort(request, { queues, ringSize, memory, pinned: false, ...features })
    }
    const requested = requestedWith(rings !== 'xsk')
    const refused = rings === 'auto' ? this.#refusedRings(client, requested) : undefined
    if (!refused) return this.#openOwn(client, requested, { ...rest, ...sizes, rings }, whenDown)
    const opened = await this.#openOwn(client, requestedWith(false), { ...rest, ...sizes, rings: 'xsk' }, whenDown)
    return { ...opened, info: { ...opened.info, attempts: [refused, ...opened.info.attempts] } }
  }

  /** Why no grant allows BPF rings for a port that can do without them; `undefined` if one does. */
  #refusedRings({ credentials }: Client, requested: RequestedPort): Attempt | undefined {
    try {
      // What the user has at the moment must not decide: a program that opens its port again would get other rings.
      permit(this.#grants, credentials, requested, NOTHING)
      return undefined
    } catch (error) {
      return { hook: 'rings', step: 'bpf', code: null, why: (error as XsknetError).message.slice(0, 1024) }
    }
  }

  /** Opens a port on the UMEM of another port of the same connection. */
  async #openShared(client: Client, request: PortRequest, first: number): Promise<GrantedPort> {
    const other = this.#ports.get(first)
    if (other?.client !== client || other.requested.pinned) throw unknownPort(first, 'this client')
    const { uplink, whenDown, rings, ...rest } = request
    const sizes = sharedSizesOf(request, first)
    const flows = await this.#requestedFlows(client, uplink, request)
    const costs = { ...sizes, memory: 0, pinned: false, ...featuresOf(request), bpfRings: false, ...flows }
    const requested = requestedPort(request, costs)
    return this.#openOwn(client, requested, { ...rest, ...sizes }, whenDown, other.umem)
  }

  /** Opens a port whose sockets the daemon creates. */
  async #openOwn(
    client: Client,
    requested: RequestedPort,
    request: Omit<PortRequest, 'uplink' | 'addresses' | 'whenDown'>,
    whenDown: PortRequest['whenDown'],
    umem?: UmemUsage,
  ): Promise<GrantedPort> {
    const { uplink } = requested
    // Reading many flows takes time that other clients would wait for: they were read before, elsewhere.
    const { flows, ...checked } = request
    this.#instance.checkPort(this.#visibleUplink(client, uplink), { ...checked, addresses: ipsOf(requested) })
    const steps: OpeningSteps<OpenedPort, Pick<GrantedPort, 'sockets' | 'descriptors'>> = {
      whenDown,
      build: (addresses, terms) => this.#instance.openPort(uplink, { ...request, addresses }, terms),
      handOver: (opened) => ({ sockets: [...opened.sockets], descriptors: opened.takeDescriptors() }),
    }
    return this.#open(client, requested, steps, umem)
  }

  /** Takes over the namespace once the instance builds the port; until then the caller has to close it. */
  async openPinnedPort(client: Client, request: PinnedPortRequest, namespace: Descriptors): Promise<GrantedPinnedPort> {
    const { uplink, whenDown, ...rest } = request
    // The client registers the UMEM, within its own RLIMIT_MEMLOCK.
    const claims = await this.#requestedFlows(client, uplink, request)
    const features = { busyPoll: false, hugePages: false, bpfRings: false, ...claims }
    const requested = requestedPort(request, { queues: 1, ringSize: 0, memory: 0, pinned: true, ...features })
    const { flows, ...checked } = rest
    this.#instance.checkPinnedPort(this.#visibleUplink(client, uplink), { ...checked, addresses: ipsOf(requested) })
    return this.#open(client, requested, {
      whenDown,
      build: (addresses, terms) => {
        const own = client.namespace()
        const { gid } = client.credentials
        return this.#instance.openPinnedPort(uplink, { ...rest, addresses }, terms, gid, namespace, own)
      },
      handOver: (opened) => {
        opened.announce()
        return { pinned: opened.pinned }
      },
    })
  }

  /**
   * The uplink, if the client may know of it. A request is checked before the policy is asked, and the check must not
   * reveal the properties of other uplinks.
   */
  #visibleUplink({ credentials }: Client, uplink: string): string | undefined {
    return this.#uplinks.has(uplink) && mayUse(this.#grants, credentials, uplink) ? uplink : undefined
  }

  /** Takes over the socket once it gets to the instance; until then the caller has to close it. */
  async shareSocket(client: Client, port: number, socket: Descriptors): Promise<void> {
    const openPort = this.#ports.get(port)
    if (openPort?.client !== client) throw unknownPort(port, 'this client')
    if (!openPort.requested.pinned) {
      const message = `port ${port} \`${openPort.info.name}\` is not pinned: the daemon created its socket`
      throw new XsknetError('ERR_XSKNET_SOCKET_REFUSED', message, {
        hint: 'Share only sockets of pinned ports; the daemon has those that it created.',
        details: { port },
      })
    }
    await this.#instance.shareSocket(port, socket)
  }

  async #open<C extends CreatedPort, H extends HandOver>(
    client: Client,
    requested: RequestedPort,
    steps: OpeningSteps<C, H>,
    umem: UmemUsage = { bytes: requested.memory, ports: 0, open: 0 },
  ): Promise<H & Pick<C, 'info'>> {
    const opening = this.#openOnce(client, requested, steps, umem)
    this.#opening.set(opening, client)
    try {
      return await opening
    } finally {
      this.#opening.delete(opening)
    }
  }

  async #openOnce<C extends CreatedPort, H extends HandOver>(
    client: Client,
    requested: RequestedPort,
    { build, handOver, whenDown }: OpeningSteps<C, H>,
    umem: UmemUsage,
  ): Promise<H & Pick<C, 'info'>> {
    const { uplink } = requested
    const { uid, pid } = client.credentials
    // A client that was killed and restarted must find the addresses and the memory of its predecessor free.
    const abandoned = [...this.#opening].filter(([, its]) => its.credentials.uid === uid && !this.#clients.has(its))
    await Promise.allSettled(abandoned.map(([opening]) => opening))
    await Promise.all([...this.#closing].filter(([, user]) => user === uid).map(([closing]) => closing))

    const terms = await this.#admit(client, requested, umem)
    let created: C
    try {
      if (this.#gone.has(uplink)) throw goneUplink(uplink)
      if (whenDown === 'wait') await this.#waitForLink(client, uplink)
      created = await build(ipsOf(requested), terms)
    } catch (error) {
      umem.open -= 1
      this.#removeUsage(uid, umem)
      throw error
    }
    if (requested.bpfRings && created.info.rings === 'xsk') this.#removeRings(uid, umem, requested.queues)
    const info = withPrefixes(created.info, requested.addresses)
    const openPort = { info, client, requested, umem, groups: new Set(info.groups) }
    this.#ports.set(created.key, openPort)
    const handed = handOver(created)
    try {
      this.#checkStillWanted(client)
      if (!this.#uplinks.has(uplink)) throw portLost(info, `the uplink ${uplink} is gone`)
    } catch (error) {
      if ('descriptors' in handed) handed.descriptors.close()
      await this.#close(openPort, (error as XsknetError).message)
      throw error
    }
    const { port, name, outer, addresses } = info
    const pinned = requested.pinned && { pinned: true }
    const tap = requested.tap && { tap: true, promiscuous: requested.promiscuous === true }
    this.#log('port-opened', { port, uplink, name, uid, pid, outer, addresses, ...pinned, ...tap })
    return { ...handed, info }
  }

  /** Changes the flows of an open port. */
  async changeFlows(client: Client, request: FlowRequest): Promise<void> {
    const { port, flows: texts, operation } = request
    const change = FLOW_CHANGES[operation]
    const overrideHost = 'overrideHost' in request && request.overrideHost === true
    const openPort = this.#ports.get(port)
    if (openPort?.client !== client) throw unknownPort(port, 'this client')
    const { uplink, name } = openPort.info
    const { uid } = client.credentials
    if (change !== 'release') {
      // What it was opened with is not asked for again.
      const { flows, overrideHost: _, groups, ...requested } = openPort.requested
      const claims = await this.#requestedFlows(client, uplink, { flows: texts, overrideHost })
      permitChange(this.#grants, client.credentials, { ...requested, ...claims })
    }
    await this.#instance.changeFlows(port, change, texts, overrideHost)
    this.#log('flows-changed', {
      port,
      uplink,
      name,
      uid,
      change,
      flows: texts.length,
      ...(overrideHost && { overrideHost }),
    })
  }

  /** Puts an open port into groups, or takes it out of them. */
  async changeGroups(
    client: Client,
    change: 'join' | 'leave',
    { port, groups: texts }: Parameters<'joinGroups'>,
  ): Promise<Attempt[]> {
    const openPort = this.#ports.get(port)
    if (openPort?.client !== client) throw unknownPort(port, 'this client')
    const groups = parseGroups(texts)
    if (change === 'join') {
      // What it was opened with is not asked for again.
      const { flows, overrideHost, groups: _, ...requested } = openPort.requested
      permitChange(this.#grants, client.credentials, { ...requested, groups })
    }
    const names = groups.map(({ text }) => text)
    const attempts = await this.#instance.changeGroups(port, change, names)
    for (const name of names) change === 'join' ? openPort.groups.add(name) : openPort.groups.delete(name)
    const { uplink, name } = openPort.info
    this.#log('groups-changed', { port, uplink, name, uid: client.credentials.uid, change, groups: names })
    return attempts
  }

  /**
   * What the policy has to know of the flows of a request.
   *
   * @throws {XsknetError} `ERR_XSKNET_FLOW_INVALID` or `ERR_XSKNET_FLOWS_EXHAUSTED`.
   */
  async #requestedFlows(
    { credentials }: Client,
    uplink: string,
    { flows: texts = [], overrideHost = false }: Pick<PortRequest, 'flows' | 'overrideHost'>,
  ): Promise<Pick<RequestedPort, 'flows' | 'overrideHost'>> {
    if (texts.length === 0) return {}
    const outside = new Map<Grant, string[]>()
    for (const grant of grantsFor(this.#grants, credentials, uplink)) {
      outside.set(grant, await this.#instance.flowsOutside(texts, grant.flows))
    }
    // A grant that has come since was not asked.
    return { flows: { texts, outside: (grant) => outside.get(grant) ?? texts }, ...(overrideHost && { overrideHost }) }
  }

  /**
   * Refuses grants whose flows are none.
   *
   * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`.
   */
  async checkGrants(grants: readonly Grant[]): Promise<void> {
    for (const { flows, origin } of grants) {
      if (flows.length === 0) continue
      try {
        await this.#instance.flowsOutside([], flows)
      } catch (error) {
        const { message, hint } = error as XsknetError
        throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `\`flows\` in ${origin}: ${message}`, {
          ...(hint !== undefined && { hint }),
          details: { key: 'flows' },
        })
      }
    }
  }

  async closePort(client: Client, port: number): Promise<void> {
    const openPort = this.#ports.get(port)
    if (openPort?.client !== client) throw unknownPort(port, 'this client')
    await this.#close(openPort, 'closed by the client')
  }

  /** The open ports, sorted by number: all for root, else the user's own. */
  portsFor({ uid }: Credentials): PortEntry[] {
    return [...this.#ports.values()]
      .filter(({ client }) => uid === 0 || client.credentials.uid === uid)
      .map(({ info, groups, requested, client: { credentials } }) => {
        const { port, name, uplink, mac, addresses, vlan, queuePairs, rings } = info
        const { uid, pid } = credentials
        // The uplink's may have changed.
        const isUplinks = addresses.length === 0 || requested.uplinkMac
        const now = isUplinks ? (this.#uplinks.get(uplink)?.mac ?? mac) : mac
        const queues = queuePairs.length
        return { port, name, uplink, mac: now, addresses, vlan, queues, rings, groups: [...groups], uid, pid }
      })
      .sort((a, b) => a.port - b.port)
  }

  async portStatistics({ uid }: Credentials, port: number): Promise<PortStatistics> {
    const openPort = this.#ports.get(port)
    if (!openPort || (uid !== 0 && openPort.client.credentials.uid !== uid)) throw unknownPort(port, `user ${uid}`)
    return this.#instance.portStatistics(port)
  }

  async uplinkStatistics(who: Credentials, uplink: string): Promise<UplinkStatistics> {
    if (!mayUse(this.#grants, who, uplink)) throw unknownUplink(who, uplink)
    return this.#instance.uplinkStatistics(uplink)
  }

  /**
   * What an uplink's program decides about a packet that arrives.
   *
   * @throws {XsknetError} `ERR_XSKNET_NOT_PERMITTED` or `ERR_XSKNET_UPLINK_MISSING`.
   */
  async explainArrival(who: Credentials, uplink: string, packet: Uint8Array): Promise<Explained> {
    if (!mayUse(this.#grants, who, uplink)) throw unknownUplink(who, uplink)
    const told = await this.#instance.explainArrival(uplink, packet)
    return who.uid === 0 ? whole(told, this.#knownTo(who)) : ofArrival(told, this.#knownTo(who))
  }

  /**
   * What the guard decides about a packet that a port sends.
   *
   * @throws {XsknetError} `ERR_XSKNET_PORT_UNKNOWN`.
   */
  async explainSending(who: Credentials, port: number, packet: Uint8Array): Promise<Explained> {
    const known = this.#knownTo(who)
    if (!known(port)) throw unknownPort(port, `user ${who.uid}`)
    const told = await this.#instance.explainSending(port, packet)
    return who.uid === 0 ? whole(told, known) : ofSending(told, known)
  }

  /**
   * Samples of the frames of a port that its guard refused.
   *
   * @throws {XsknetError} `ERR_XSKNET_PORT_UNKNOWN`.
   */
  async refusals(who: Credentials, port: number): Promise<Refusals> {
    if (!this.#knownTo(who)(port)) throw unknownPort(port, `user ${who.uid}`)
    return this.#instance.refusals(port)
  }

  /** The open ports that a user may know of: all for root, else the user's own. */
  #knownTo({ uid }: Credentials): Known {
    return (port) => {
      const openPort = this.#ports.get(port)
      return openPort && (uid === 0 || openPort.client.credentials.uid === uid) ? openPort.info : undefined
    }
  }

  /** Notifies all clients that their ports are lost, and undoes everything. */
  close(): Promise<void> {
    this.#closed ??= this.#end()
    return this.#closed
  }

  async #end(): Promise<void> {
    this.#wake(() => true)
    for (const openPort of this.#ports.values()) this.#losePort(openPort, 'the daemon is shutting down')
    await Promise.allSettled(this.#opening.keys())
    await Promise.all(this.#closing.keys())
    // An uplink that cannot be restored must not keep the others from it: closing the instance tries the rest again.
    for (const uplink of this.#uplinks.keys()) {
      await this.#instance.release(uplink).then(
        () => this.#log('uplink-released', { uplink }),
        (error) => this.#log('uplink-release-failed', { uplink, ...errorFields(error) }),
      )
    }
    await this.#instance.close()
  }

  /**
   * Never rejects: a client can do nothing about what remains of its port. It is logged, and the next start tries
   * again.
   */
  #close(openPort: OpenPort, why: string): Promise<void> {
    const { port, uplink, name } = openPort.info
    const { uid } = openPort.client.credentials
    if (!this.#ports.delete(port)) return Promise.resolve()
    const lingering = { uid, umem: openPort.umem }
    this.#lingering.add(lingering)
    openPort.umem.open -= 1
    const closing = this.#instance
      .closePort(port)
      .then(
        () => this.#log('port-closed', { port, uplink, name, uid, why }),
        (error) => this.#log('port-close-failed', { port, uplink, name, uid, why, ...errorFields(error) }),
      )
      .finally(() => this.#closing.delete(closing))
    this.#closing.set(closing, uid)
    // A descriptor that a client keeps open keeps the socket and its memory, which no process is charged for.
    void Promise.all([closing, this.#instance.freed(port)]).then(() => {
      this.#lingering.delete(lingering)
      this.#removeUsage(uid, openPort.umem)
      // Openings of other users may wait for the memory.
      this.#wake(() => true)
    })
    return closing
  }

  #applyChange({ uplink, port, nic, address, program, device, why, offload, vlan, failure }: HostChange): void {
    const known = this.#uplinks.get(uplink)
    if (!known) return
    const failed = failure !== undefined
    if (nic) {
      const info = { ...known, ...nic }
      this.#uplinks.set(uplink, info)
      this.#log('uplink-changed', { uplink, ...nic })
      for (const client of this.#clientsOf(uplink)) client.uplinkChanged(info)
      this.#wake(() => true)
    }
    if (port !== undefined && address !== undefined) {
      const openPort = this.#ports.get(port)
      if (!openPort) return
      this.#log('address-conflict', { uplink, port, name: openPort.info.name, address, why: 'the host has it too' })
      openPort.client.addressConflict(port, address)
    }
    if (program !== undefined) {
      this.#log(failed ? 'program-missing' : 'program-reattached', { uplink, port, program, device, failure, why })
    }
    if (vlan !== undefined) {
      this.#log(failed ? 'vlan-blocked' : 'vlan-restored', { uplink, vlan, failure })
    }
    if (offload !== undefined) {
      const why = 'it was switched on by others; VLANs are isolated only while it is off'
      this.#log(failed ? 'offload-enabled' : 'offload-disabled', { uplink, offload, failure, why })
    }
  }

  /** The clients that may use an uplink. */
  #clientsOf(uplink: string): Client[] {
    return [...this.#clients].filter(({ credentials }) => mayUse(this.#grants, credentials, uplink))
  }

  #handleLoss({ uplink, port, change }: Loss): void {
    if (port !== undefined) {
      const openPort = this.#ports.get(port)
      if (openPort) this.#losePort(openPort, change ?? 'its devices were deleted', change)
      return
    }
    if (!this.#uplinks.delete(uplink)) return
    this.#gone.set(uplink, performance.now())
    this.#log('uplink-gone', { uplink })
    this.#wake(() => true)
    const error = goneUplink(uplink)
    for (const openPort of this.#ports.values())
      if (openPort.info.uplink === uplink) this.#losePort(openPort, error.message)
    for (const client of this.#clientsOf(uplink)) client.uplinkGone(uplink, error)
    const closing = Promise.all(this.#closing.keys())
      .then(() => this.#instance.release(uplink))
      .catch((error) => this.#log('uplink-release-failed', { uplink, ...errorFields(error) }))
      .finally(() => this.#closing.delete(closing))
    this.#closing.set(closing, undefined)
  }

  #losePort(openPort: OpenPort, why: string, change?: string): void {
    openPort.client.portLost(openPort.info.port, portLost(openPort.info, why, change))
    void this.#close(openPort, why)
  }

  /**
   * Counts the port as the user's. If only lingering ports exceed a limit, it waits for them to go: a program that
   * closes a port and opens another one need not know when the kernel has freed the first.
   *
   * @returns The terms on which it may be opened.
   */
  async #admit(client: Client, requested: RequestedPort, umem: UmemUsage): Promise<PortTerms> {
    const { uid } = client.credentials
    let timeout: NodeJS.Timeout | undefined
    let mayWait = true
    try {
      for (;;) {
        this.#checkStillWanted(client)
        try {
          const { innerTags, routing, rates } = permit(this.#grants, client.credentials, requested, this.#usageOf(uid))
          checkMemory(this.#memory, client.credentials, requested, this.#totalUsage())
          // Before anything is awaited, so that concurrent requests see it.
          this.#addUsage(uid, umem)
          return { uid, innerTags, routing, rates }
        } catch (error) {
          if (!mayWait || !this.#permittedWithoutLingering(client.credentials, requested)) throw error
        }
        await new Promise<void>((resolve) => {
          const waiting = { client, wake: resolve }
          this.#waiting.add(waiting)
          timeout ??= setTimeout(() => {
            mayWait = false
            this.#wake((waiting) => waiting === client)
          }, LINGERING_TIMEOUT_MS)
        })
      }
    } finally {
      clearTimeout(timeout)
    }
  }

  /** Whether the port would be permitted if no closed ports lingered, the user's or others'. */
  #permittedWithoutLingering(who: Credentials, requested: RequestedPort): boolean {
    const all = this.#totalUsage()
    if (!all.lingering) return false
    const { ports, memory, lingering = NOTHING } = this.#usageOf(who.uid)
    try {
      permit(this.#grants, who, requested, { ports: ports - lingering.ports, memory: memory - lingering.memory })
      checkMemory(this.#memory, who, requested, { memory: all.memory - all.lingering.memory })
      return true
    } catch {
      return false
    }
  }

  /** Makes pending openings check again. */
  #wake(whose: (client: Client) => boolean): void {
    for (const waiting of this.#waiting) {
      if (!whose(waiting.client)) continue
      this.#waiting.delete(waiting)
      waiting.wake()
    }
  }

  /** Waits until the link of an uplink is up. */
  async #waitForLink(client: Client, uplink: string): Promise<void> {
    while (this.#uplinks.get(uplink)?.link !== 'up') {
      if (!this.#uplinks.has(uplink)) throw goneUplink(uplink)
      await new Promise<void>((wake) => this.#waiting.add({ client, wake }))
      this.#checkStillWanted(client)
    }
  }

  /** Checks what may have changed while the kernel was at work. */
  #checkStillWanted(client: Client): void {
    if (this.#closed) throw new XsknetError('ERR_XSKNET_UPLINK_CLOSED', 'the daemon is shutting down')
    if (!this.#clients.has(client))
      throw new XsknetError('ERR_XSKNET_PORT_UNKNOWN', 'the client disconnected before its port was open')
  }

  #usageOf(uid: number): Usage {
    return this.#withLingering(
      this.#usageByUser.get(uid) ?? NOTHING,
      [...this.#lingering].filter((port) => port.uid === uid),
    )
  }

  #totalUsage(): Usage {
    const sum = (a: Usage, b: Usage) => ({ ports: a.ports + b.ports, memory: a.memory + b.memory })
    return this.#withLingering([...this.#usageByUser.values()].reduce(sum, NOTHING), [...this.#lingering])
  }

  /** @param lingering The lingering ports that the usage includes. */
  #withLingering(usage: Usage, lingering: readonly LingeringPort[]): Usage {
    if (lingering.length === 0) return usage
    const umems = new Set(lingering.map(({ umem }) => umem).filter(({ open }) => open === 0))
    const memory = [...umems].reduce((sum, { bytes }) => sum + bytes, 0)
    return { ...usage, lingering: { ports: lingering.length, memory } }
  }

  /** Adds a port. Its UMEM counts with the first port on it. */
  #addUsage(uid: number, umem: UmemUsage): void {
    const { ports, memory } = this.#usageByUser.get(uid) ?? NOTHING
    this.#usageByUser.set(uid, { ports: ports + 1, memory: umem.ports === 0 ? memory + umem.bytes : memory })
    umem.ports += 1
    umem.open += 1
  }

  /** Removes the bytes of BPF rings that a port did not get. */
  #removeRings(uid: number, umem: UmemUsage, queues: number): void {
    const bytes = queues * BPF_RING_BYTES
    const usage = this.#usageByUser.get(uid) ?? NOTHING
    this.#usageByUser.set(uid, { ...usage, memory: usage.memory - bytes })
    umem.bytes -= bytes
    this.#wake(() => true)
  }

  /** Removes a port. Its UMEM counts until the last port on it is gone. */
  #removeUsage(uid: number, umem: UmemUsage): void {
    umem.ports -= 1
    const { ports, memory } = this.#usageByUser.get(uid) ?? { ports: 1, memory: 0 }
    if (ports === 1) this.#usageByUser.delete(uid)
    else this.#usageByUser.set(uid, { ports: ports - 1, memory: umem.ports === 0 ? memory - umem.bytes : memory })
  }
}

function goneUplink(uplink: string): XsknetError {
  return new XsknetError('ERR_XSKNET_UPLINK_CLOSED', `the uplink ${uplink} is gone`, {
    hint: 'Restart the daemon once the interface is back.',
    details: { uplink },
  })
}

/** The instance knows only addresses; the prefix length is that of the request, or the default. */
function withPrefixes<I extends PinnedPortInfo>(info: I, requested: readonly Address[]): I {
  const addresses = info.addresses.map((text) => {
    const parsed = parseAddress(text)
    const { ip, prefix } = requested.find(({ ip }) => ip === parsed.ip) ?? parsed
    return `${ip}/${prefix}`
  })
  return { ...info, addresses }
}

/** @param change What the client changed at the port's inner end. */
function portLost({ port, name, uplink, inner }: PinnedPortInfo, why: string, change?: string): XsknetError {
  return new XsknetError('ERR_XSKNET_PORT_LOST', `port ${port} \`${name}\` on ${uplink} is lost: ${why}`, {
    hint: change ? `Do not change ${inner}, and open a new port.` : 'Open a new port once the cause is resolved.',
    details: { port, name, uplink, why, ...(change && { change }) },
  })
}

function unknownPort(port: number, owner: string): XsknetError {
  return new XsknetError('ERR_XSKNET_PORT_UNKNOWN', `${owner} has no port ${port}`, {
    hint: 'Ports are identified by the number in their info; `xsknetd ports` lists them.',
    details: { port },
  })
}
