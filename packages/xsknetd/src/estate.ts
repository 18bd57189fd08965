import { XsknetError } from 'xsknet'
import type {
  GoneUplink,
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
import { type Address, readAddress, readHostAddress } from './addresses.js'
import type { Change, Ground, Loss, OpenedPort, Terms, UplinkMode } from './ground.js'
import type { Log, LogFields } from './log.js'
import type { MemoryBound } from './memory.js'
import {
  checkMemory,
  type Grant,
  type Holding,
  mayUse,
  permit,
  RING_SIZE,
  unknownUplink,
  type Vlan,
  type Wish,
} from './policy.js'
import type { Credentials, Descriptors } from './wire.js'

/** A client, as far as ports are concerned. */
export interface Owner {
  readonly credentials: Credentials
  /** The network namespace that its process is in now: one descriptor, for who asks. */
  namespace(): Descriptors
  portLost(port: number, error: XsknetError): void
  uplinkGone(uplink: string, error: XsknetError): void
  uplinkChanged(uplink: UplinkInfo): void
  addressConflict(port: number, address: string): void
}

/** A port for its owner. */
export interface GrantedPort {
  readonly info: PortInfo
  readonly sockets: SocketDescription[]
  readonly descriptors: Descriptors
}

/** A pinned port for its owner. */
export interface GrantedPinnedPort {
  readonly info: PinnedPortInfo
  readonly pinned: Pinned
}

/** What the kernel's side has made. */
interface Made {
  readonly key: number
  readonly info: PinnedPortInfo
}

/** What its owner gets beside the info. */
type Handed = Pick<GrantedPort, 'sockets' | 'descriptors'> | Pick<GrantedPinnedPort, 'pinned'>

/** How a port is made, and what is handed to its owner. From `hand` on a loss of the port is told. */
interface Way<O extends Made, G extends Handed> {
  make(addresses: string[], terms: Terms): Promise<O>
  hand(opened: O): G
  readonly whenDown: PortRequest['whenDown']
}

interface Held {
  readonly info: PinnedPortInfo
  readonly owner: Owner
  /** What the policy counts. */
  readonly wish: Wish
  readonly umem: Umem
}

/** Memory that one or more ports of a client are on. It counts once, and until the sockets of the last of them are gone. */
interface Umem {
  readonly bytes: number
  /** Those whose sockets are not gone. */
  ports: number
  /** Those that were not closed. */
  open: number
}

/** A port that was closed while somebody may still have descriptors of its sockets: what it has is the user's until they are gone. */
interface Remains {
  readonly uid: number
  readonly umem: Umem
}

/** An opening that waits for remains to go. */
interface Waiting {
  readonly owner: Owner
  wake(): void
}

/** What becomes of a request that does not say: the daemon's words, so that what the policy counts is what is made. */
const QUEUES = 1
const FRAME_SIZE = 2048

const NOTHING: Holding = { ports: 0, memory: 0 }

/** How long an opening waits for the remains that stand in its way. */
const PATIENCE_MS = 2000

/** What is settled where a UMEM was made. */
const UMEM_OPTIONS = ['frames', 'frameSize', 'headroom', 'hugePages', 'multiBuffer', 'zeroCopy'] as const

/** The uplinks and ports of a daemon, and whose they are. */
export class Estate {
  readonly #ground: Ground
  #grants: readonly Grant[]
  readonly #memory: MemoryBound
  readonly #log: Log
  readonly #owners = new Set<Owner>()
  readonly #uplinks = new Map<string, UplinkInfo>()
  /** Cards that went, and when. */
  readonly #gone = new Map<string, number>()
  readonly #ports = new Map<number, Held>()
  /** By user, ports that are being opened or closed included. */
  readonly #holdings = new Map<number, Holding>()
  /** Ports on their way out, with the user who held them, and cards with none. */
  readonly #closing = new Map<Promise<void>, number | undefined>()
  readonly #opening = new Map<Promise<unknown>, Owner>()
  readonly #remains = new Set<Remains>()
  readonly #waiting = new Set<Waiting>()
  #closed: Promise<void> | undefined

  constructor(ground: Ground, grants: readonly Grant[], memory: MemoryBound, log: Log) {
    this.#ground = ground
    this.#grants = grants
    this.#memory = memory
    this.#log = log
  }

  /** From now on these hold. What was opened before stays as it is until it is closed, on the terms of its day. */
  regrant(grants: readonly Grant[]): void {
    this.#grants = grants
  }

  async manage(uplinks: readonly string[], mode: UplinkMode): Promise<void> {
    this.#ground.onChange((change) => this.#follow(change))
    this.#ground.onLoss((loss) => this.#lose(loss))
    for (const uplink of uplinks) {
      const info = await this.#ground.manage(uplink, mode)
      this.#uplinks.set(uplink, info)
      this.#log('uplink-managed', { uplink, mac: info.mac, mtu: info.mtu, link: info.link, mode: info.mode })
    }
  }

  /** Of all for root, else of the user's own. */
  portCountFor({ uid }: Credentials): number {
    if (uid === 0) return this.#ports.size
    return [...this.#ports.values()].filter(({ owner }) => owner.credentials.uid === uid).length
  }

  /** From now on the owner may have ports and hears of losses. */
  join(owner: Owner): void {
    this.#owners.add(owner)
  }

  /** The owner is gone: so are its ports, also those that are just being opened. */
  async leave(owner: Owner): Promise<void> {
    this.#owners.delete(owner)
    this.#wake((waiting) => waiting === owner)
    const left = [...this.#ports.values()].filter((held) => held.owner === owner)
    await Promise.all(left.map((held) => this.#close(held, 'the client is gone')))
  }

  /** The uplinks that the user may know of. */
  uplinksFor(who: Credentials): UplinkInfo[] {
    return [...this.#uplinks.values()].filter(({ uplink }) => mayUse(this.#grants, who, uplink))
  }

  /** The cards that the user might have used and that are gone. */
  goneFor(who: Credentials): GoneUplink[] {
    const gone = [...this.#gone].filter(([uplink]) => mayUse(this.#grants, who, uplink))
    return gone.map(([uplink, when]) => ({ uplink, seconds: Math.floor((performance.now() - when) / 1000) }))
  }

  async openPort(owner: Owner, request: PortRequest): Promise<GrantedPort> {
    if (request.umemOf) return this.#openShared(owner, request, request.umemOf.port)
    const { uplink, mac, whenDown, ...rest } = request
    const { queues, ringSize, frames, frameSize } = sizes(request, () => this.#ground.hugePageBytes())
    const memory = queues * frames * frameSize
    const wish = wishOf(request, { queues, ringSize, memory, pinned: false, ...burdensOf(request) })
    const whole = { ...rest, queues, ringSize, frames, frameSize }
    this.#ground.checkPort(this.#known(owner, uplink), { ...whole, addresses: ipsOf(wish) })
    return this.#open(owner, wish, {
      whenDown,
      make: (addresses, terms) => this.#ground.openPort(uplink, { ...whole, addresses }, terms),
      hand: (opened) => ({ sockets: [...opened.sockets], descriptors: opened.takeDescriptors() }),
    })
  }

  /** On the UMEM of a port that the same connection has. */
  async #openShared(owner: Owner, request: PortRequest, first: number): Promise<GrantedPort> {
    const held = this.#ports.get(first)
    if (held?.owner !== owner || held.wish.pinned) throw unknownPort(first, 'this client')
    const { uplink, mac, whenDown, queues = QUEUES, ringSize = RING_SIZE, ...rest } = request
    if (queues !== 1) {
      throw new XsknetError('ERR_XSKNET_NOT_SUPPORTED', `a port on the UMEM of another one cannot have ${queues} queues`, {
        hint: 'Open as many ports with one queue each.',
        details: { queues, umemOf: first },
      })
    }
    const settled = UMEM_OPTIONS.filter((option) => request[option] !== undefined)
    if (settled.length > 0) {
      throw new XsknetError(
        'ERR_XSKNET_LAYOUT_INVALID',
        `a port on the UMEM of port ${first} was asked for with ${settled.join(', ')}, which that UMEM has already`,
        { hint: `Leave out ${settled.join(', ')}.`, details: { umemOf: first, options: settled } },
      )
    }
    const way = {
      whenDown,
      make: (addresses: string[], terms: Terms) => {
        return this.#ground.openPort(uplink, { ...rest, queues, ringSize, addresses }, terms)
      },
      hand: (opened: OpenedPort) => ({ sockets: [...opened.sockets], descriptors: opened.takeDescriptors() }),
    }
    const wish = wishOf(request, { queues, ringSize, memory: 0, pinned: false, ...burdensOf(request) })
    this.#ground.checkPort(this.#known(owner, uplink), { ...rest, queues, ringSize, addresses: ipsOf(wish) })
    return this.#open(owner, wish, way, held.umem)
  }

  /** The namespace is taken over where it gets as far as the kernel's side; until then it is the caller's. */
  async openPinnedPort(owner: Owner, request: PinnedPortRequest, namespace: Descriptors): Promise<GrantedPinnedPort> {
    const { uplink, mac, whenDown, ...rest } = request
    // The client registers the UMEM, against its own limit of locked memory.
    const costs = { queues: 1, ringSize: 0, memory: 0, pinned: true, busyPoll: false, hugePages: false }
    const wish = wishOf(request, costs)
    this.#ground.checkPinnedPort(this.#known(owner, uplink), { ...rest, addresses: ipsOf(wish) })
    return this.#open(owner, wish, {
      whenDown,
      make: (addresses, terms) => {
        const own = owner.namespace()
        return this.#ground.openPinnedPort(uplink, { ...rest, addresses }, terms, owner.credentials.gid, namespace, own)
      },
      hand: (opened) => {
        opened.announce()
        return { pinned: opened.pinned }
      },
    })
  }

  /** The uplink, where the owner may know of it: what is wrong with a request is told before what may not be, and must not tell more. */
  #known({ credentials }: Owner, uplink: string): string | undefined {
    return this.#uplinks.has(uplink) && mayUse(this.#grants, credentials, uplink) ? uplink : undefined
  }

  /** As {@link openPinnedPort} with the namespace, so here with the socket. */
  async shareSocket(owner: Owner, port: number, socket: Descriptors): Promise<void> {
    const held = this.#ports.get(port)
    if (held?.owner !== owner) throw unknownPort(port, 'this client')
    if (!held.wish.pinned) {
      throw new XsknetError(
        'ERR_XSKNET_SOCKET_REFUSED',
        `port ${port} \`${held.info.name}\` is not pinned: its socket is the daemon's`,
        {
          hint: 'Share sockets of pinned ports only; the daemon has those that it made.',
          details: { port },
        },
      )
    }
    await this.#ground.shareSocket(port, socket)
  }

  async #open<O extends Made, G extends Handed>(
    owner: Owner,
    wish: Wish,
    way: Way<O, G>,
    umem: Umem = { bytes: wish.memory, ports: 0, open: 0 },
  ): Promise<G & Pick<O, 'info'>> {
    const opening = this.#opened(owner, wish, way, umem)
    this.#opening.set(opening, owner)
    try {
      return await opening
    } finally {
      this.#opening.delete(opening)
    }
  }

  async #opened<O extends Made, G extends Handed>(
    owner: Owner,
    wish: Wish,
    { make, hand, whenDown }: Way<O, G>,
    umem: Umem,
  ): Promise<G & Pick<O, 'info'>> {
    const { uplink } = wish
    const { uid, pid } = owner.credentials
    // A client that was killed and started again finds the addresses and the room of the one before it free.
    const abandoned = [...this.#opening].filter(([, its]) => its.credentials.uid === uid && !this.#owners.has(its))
    await Promise.allSettled(abandoned.map(([opening]) => opening))
    await Promise.all([...this.#closing].filter(([, user]) => user === uid).map(([closing]) => closing))

    const terms = await this.#admit(owner, wish, umem)
    let opened: O
    try {
      if (this.#gone.has(uplink)) throw goneUplink(uplink)
      if (whenDown === 'wait') await this.#linkUp(owner, uplink)
      opened = await make(ipsOf(wish), terms)
    } catch (error) {
      umem.open -= 1
      this.#letGo(uid, umem)
      throw error
    }
    const info = withPrefixes(opened.info, wish.addresses)
    const held = { info, owner, wish, umem }
    this.#ports.set(opened.key, held)
    const handed = hand(opened)
    try {
      this.#mustStay(owner)
      if (!this.#uplinks.has(uplink)) throw lost(info, `the card ${uplink} is gone`)
    } catch (error) {
      if ('descriptors' in handed) handed.descriptors.close()
      await this.#close(held, (error as XsknetError).message)
      throw error
    }
    const { port, name, outer, addresses } = info
    this.#log('port-opened', { port, uplink, name, uid, pid, outer, addresses, ...(wish.pinned && { pinned: true }) })
    return { ...handed, info }
  }

  async closePort(owner: Owner, port: number): Promise<void> {
    const held = this.#ports.get(port)
    if (held?.owner !== owner) throw unknownPort(port, 'this client')
    await this.#close(held, 'closed by the client')
  }

  /** All ports for root, their own for others, by number. */
  portsFor({ uid }: Credentials): PortEntry[] {
    return [...this.#ports.values()]
      .filter(({ owner }) => uid === 0 || owner.credentials.uid === uid)
      .map(({ info: { port, name, uplink, mac, addresses, vlan, queuePairs }, owner: { credentials } }) => {
        const { uid, pid } = credentials
        return { port, name, uplink, mac, addresses, vlan, queues: queuePairs.length, uid, pid }
      })
      .sort((a, b) => a.port - b.port)
  }

  async portStatistics({ uid }: Credentials, port: number): Promise<PortStatistics> {
    const held = this.#ports.get(port)
    if (!held || (uid !== 0 && held.owner.credentials.uid !== uid)) throw unknownPort(port, `user ${uid}`)
    return this.#ground.portStatistics(port)
  }

  async uplinkStatistics(who: Credentials, uplink: string): Promise<UplinkStatistics> {
    if (!mayUse(this.#grants, who, uplink)) throw unknownUplink(who, uplink)
    return this.#ground.uplinkStatistics(uplink)
  }

  /** Tells all owners that their ports go, and undoes everything. */
  close(): Promise<void> {
    this.#closed ??= this.#end()
    return this.#closed
  }

  async #end(): Promise<void> {
    this.#wake(() => true)
    for (const held of this.#ports.values()) this.#losePort(held, 'the daemon is shutting down')
    await Promise.allSettled(this.#opening.keys())
    await Promise.all(this.#closing.keys())
    // One card that cannot be put back must not keep the others from it: the instance tries all that is left once more.
    for (const uplink of this.#uplinks.keys()) {
      await this.#ground.release(uplink).then(
        () => this.#log('uplink-released', { uplink }),
        (error) => this.#log('uplink-release-failed', { uplink, ...reasonOf(error) }),
      )
    }
    await this.#ground.close()
  }

  /** Never rejects: who loses a port can do nothing about what the kernel kept of it. The log tells, and so does the next start. */
  #close(held: Held, why: string): Promise<void> {
    const { port, uplink, name } = held.info
    const { uid } = held.owner.credentials
    if (!this.#ports.delete(port)) return Promise.resolve()
    const remains = { uid, umem: held.umem }
    this.#remains.add(remains)
    held.umem.open -= 1
    const closing = this.#ground
      .closePort(port)
      .then(
        () => this.#log('port-closed', { port, uplink, name, uid, why }),
        (error) => this.#log('port-close-failed', { port, uplink, name, uid, why, ...reasonOf(error) }),
      )
      .finally(() => this.#closing.delete(closing))
    this.#closing.set(closing, uid)
    // Who keeps a descriptor of a socket keeps the socket, with its memory, which no process is charged with.
    void Promise.all([closing, this.#ground.freed(port)]).then(() => {
      this.#remains.delete(remains)
      this.#letGo(uid, held.umem)
      // Who waits for others' memory, too.
      this.#wake(() => true)
    })
    return closing
  }

  #follow({ uplink, port, card, address, program, device, why, offload, vlan, failure }: Change): void {
    const known = this.#uplinks.get(uplink)
    if (!known) return
    if (card) {
      const info = { ...known, ...card }
      this.#uplinks.set(uplink, info)
      this.#log('uplink-changed', { uplink, ...card })
      for (const owner of this.#owners) if (mayUse(this.#grants, owner.credentials, uplink)) owner.uplinkChanged(info)
      this.#wake(() => true)
    }
    if (port !== undefined && address !== undefined) {
      const held = this.#ports.get(port)
      if (!held) return
      this.#log('address-conflict', { uplink, port, name: held.info.name, address, why: 'the host has it, too' })
      held.owner.addressConflict(port, address)
    }
    if (program !== undefined) {
      const event = failure === undefined ? 'program-put-back' : 'program-missing'
      this.#log(event, { uplink, port, program, device, failure, why })
    }
    if (vlan !== undefined) {
      this.#log(failure === undefined ? 'vlan-let-in' : 'vlan-shut-out', { uplink, vlan, failure })
    }
    if (offload !== undefined) {
      const event = failure === undefined ? 'offload-put-back' : 'offload-on'
      this.#log(event, { uplink, offload, failure, why: 'somebody switched it on: VLANs are kept apart only while it is off' })
    }
  }

  #lose({ uplink, port, change }: Loss): void {
    if (port !== undefined) {
      const held = this.#ports.get(port)
      if (held) this.#losePort(held, change ?? 'its devices were deleted', change)
      return
    }
    if (!this.#uplinks.delete(uplink)) return
    this.#gone.set(uplink, performance.now())
    this.#log('uplink-gone', { uplink })
    this.#wake(() => true)
    const error = goneUplink(uplink)
    for (const held of this.#ports.values()) if (held.info.uplink === uplink) this.#losePort(held, error.message)
    for (const owner of this.#owners) if (mayUse(this.#grants, owner.credentials, uplink)) owner.uplinkGone(uplink, error)
    const closing = Promise.all(this.#closing.keys())
      .then(() => this.#ground.release(uplink))
      .catch((error) => this.#log('uplink-release-failed', { uplink, ...reasonOf(error) }))
      .finally(() => this.#closing.delete(closing))
    this.#closing.set(closing, undefined)
  }

  #losePort(held: Held, why: string, change?: string): void {
    held.owner.portLost(held.info.port, lost(held.info, why, change))
    void this.#close(held, why)
  }

  /**
   * Counts the port as the user's. Where nothing but remains of closed ports stands in the way, it waits for them to go: a program that
   * closes a port and opens the next one need not know when the kernel has done.
   *
   * @returns On what terms it may be opened.
   */
  async #admit(owner: Owner, wish: Wish, umem: Umem): Promise<Terms> {
    const { uid } = owner.credentials
    let patience: NodeJS.Timeout | undefined
    let isPatient = true
    try {
      for (;;) {
        this.#mustStay(owner)
        try {
          const { innerTags, routing, rates } = permit(this.#grants, owner.credentials, wish, this.#holding(uid))
          checkMemory(this.#memory, owner.credentials, wish, this.#holdingOfAll())
          // Before anything is awaited: requests that come meanwhile see it.
          this.#hold(uid, umem)
          return { uid, innerTags, routing, rates }
        } catch (error) {
          if (!isPatient || !this.#wouldDo(owner.credentials, wish)) throw error
        }
        await new Promise<void>((resolve) => {
          const waiting = { owner, wake: resolve }
          this.#waiting.add(waiting)
          patience ??= setTimeout(() => {
            isPatient = false
            this.#wake((waiting) => waiting === owner)
          }, PATIENCE_MS)
        })
      }
    } finally {
      clearTimeout(patience)
    }
  }

  /** Whether the port would be permitted if nothing remained of closed ones, the user's or others'. */
  #wouldDo(who: Credentials, wish: Wish): boolean {
    const all = this.#holdingOfAll()
    if (!all.lingering) return false
    const { ports, memory, lingering = NOTHING } = this.#holding(who.uid)
    try {
      permit(this.#grants, who, wish, { ports: ports - lingering.ports, memory: memory - lingering.memory })
      checkMemory(this.#memory, who, wish, { memory: all.memory - all.lingering.memory })
      return true
    } catch {
      return false
    }
  }

  /** Has openings look again. */
  #wake(whose: (owner: Owner) => boolean): void {
    for (const waiting of this.#waiting) {
      if (!whose(waiting.owner)) continue
      this.#waiting.delete(waiting)
      waiting.wake()
    }
  }

  /** Waits until frames can leave by a card. */
  async #linkUp(owner: Owner, uplink: string): Promise<void> {
    while (this.#uplinks.get(uplink)?.link !== 'up') {
      if (!this.#uplinks.has(uplink)) throw goneUplink(uplink)
      await new Promise<void>((wake) => this.#waiting.add({ owner, wake }))
      this.#mustStay(owner)
    }
  }

  /** What may have changed while the kernel was at work. */
  #mustStay(owner: Owner): void {
    if (this.#closed) throw new XsknetError('ERR_XSKNET_UPLINK_CLOSED', 'the daemon is shutting down')
    if (!this.#owners.has(owner)) throw new XsknetError('ERR_XSKNET_PORT_UNKNOWN', 'the client left before its port was open')
  }

  #holding(uid: number): Holding {
    return this.#with(
      this.#holdings.get(uid) ?? NOTHING,
      [...this.#remains].filter((remains) => remains.uid === uid),
    )
  }

  #holdingOfAll(): Holding {
    const sum = (a: Holding, b: Holding) => ({ ports: a.ports + b.ports, memory: a.memory + b.memory })
    return this.#with([...this.#holdings.values()].reduce(sum, NOTHING), [...this.#remains])
  }

  /** @param remains Those that it contains. */
  #with(has: Holding, remains: readonly Remains[]): Holding {
    if (remains.length === 0) return has
    const umems = new Set(remains.map(({ umem }) => umem).filter(({ open }) => open === 0))
    const memory = [...umems].reduce((sum, { bytes }) => sum + bytes, 0)
    return { ...has, lingering: { ports: remains.length, memory } }
  }

  /** One port more. The memory comes with the first that is on it. */
  #hold(uid: number, umem: Umem): void {
    const { ports, memory } = this.#holdings.get(uid) ?? NOTHING
    this.#holdings.set(uid, { ports: ports + 1, memory: umem.ports === 0 ? memory + umem.bytes : memory })
    umem.ports += 1
    umem.open += 1
  }

  /** One port less. */
  #letGo(uid: number, umem: Umem): void {
    umem.ports -= 1
    const { ports, memory } = this.#holdings.get(uid) ?? { ports: 1, memory: 0 }
    if (ports === 1) this.#holdings.delete(uid)
    else this.#holdings.set(uid, { ports: ports - 1, memory: umem.ports === 0 ? memory - umem.bytes : memory })
  }
}

function goneUplink(uplink: string): XsknetError {
  return new XsknetError('ERR_XSKNET_UPLINK_CLOSED', `the card ${uplink} is gone`, {
    hint: 'Start the daemon again once the card is back.',
    details: { uplink },
  })
}

function ipsOf({ addresses }: Wish): string[] {
  return addresses.map(({ ip }) => ip)
}

/** What costs the host beside memory that counts. */
function burdensOf({ busyPoll, hugePages = 'never' }: PortRequest): Pick<Wish, 'busyPoll' | 'hugePages'> {
  return { busyPoll: busyPoll !== undefined, hugePages: hugePages !== 'never' }
}

/** What the policy has to know of a request. */
function wishOf(request: PinnedPortRequest, costs: Omit<Wish, 'uplink' | 'addresses' | 'vlan'>): Wish {
  const { uplink, addresses, mac, vlan } = request
  if (mac === 'uplink') {
    throw new XsknetError('ERR_XSKNET_NOT_SUPPORTED', 'a port cannot share the MAC of its uplink yet', {
      hint: "Leave `mac` out, or ask for 'own'.",
      details: { mac },
    })
  }
  if (addresses.length === 0) {
    throw new XsknetError('ERR_XSKNET_ADDRESS_MISSING', `a port on ${uplink} was asked for without an address`, {
      hint: 'A port needs at least one address, such as 192.0.2.10/24.',
      details: { uplink },
    })
  }
  if (vlan !== undefined && (vlan < 1 || vlan > 4094)) {
    throw new XsknetError('ERR_XSKNET_VLAN_INVALID', `${vlan} is no VLAN`, {
      hint: 'VLANs are 1 to 4094; leave `vlan` out for untagged frames.',
      details: { vlan },
    })
  }
  return { uplink, addresses: addresses.map(readHostAddress), vlan: vlan ?? ('untagged' satisfies Vlan), ...costs }
}

/** With huge pages, chunks for all of the last one, also where ordinary pages take their place. */
function sizes(request: PortRequest, hugePageBytes: () => number) {
  const { queues = QUEUES, ringSize = RING_SIZE, frames = 2 * ringSize, frameSize = FRAME_SIZE, hugePages = 'never' } = request
  if (hugePages === 'never') return { queues, ringSize, frames, frameSize }
  const step = Math.max(1, hugePageBytes() / Math.max(1, frameSize))
  return { queues, ringSize, frames: Math.ceil(frames / step) * step, frameSize }
}

/** The kernel's side knows addresses alone; the prefix is what was asked for, or what is usual. */
function withPrefixes<I extends PinnedPortInfo>(info: I, asked: readonly Address[]): I {
  const addresses = info.addresses.map((text) => {
    const usual = readAddress(text)
    const { ip, prefix } = asked.find(({ ip }) => ip === usual.ip) ?? usual
    return `${ip}/${prefix}`
  })
  return { ...info, addresses }
}

/** @param change What its owner did to the port's inner end. */
function lost({ port, name, uplink, inner }: PinnedPortInfo, why: string, change?: string): XsknetError {
  return new XsknetError('ERR_XSKNET_PORT_LOST', `port ${port} \`${name}\` on ${uplink} was taken away: ${why}`, {
    hint: change ? `Leave ${inner} as the daemon made it, and open a new port.` : 'Open a new port once the cause is gone.',
    details: { port, name, uplink, why, ...(change && { change }) },
  })
}

function unknownPort(port: number, whose: string): XsknetError {
  return new XsknetError('ERR_XSKNET_PORT_UNKNOWN', `${whose} has no port ${port}`, {
    hint: 'Ports are named by the number in their info; `xsknetd ports` lists them.',
    details: { port },
  })
}

/** An error, for the log. */
export function reasonOf(error: unknown): LogFields {
  const { code, message, cause } = error as Partial<XsknetError>
  return { code, message: message ?? String(error), because: cause instanceof Error ? cause.message : undefined }
}
