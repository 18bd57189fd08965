import { readFileSync } from 'node:fs'
import { failed } from 'xsknet/internal'
import type { Failure, UplinkStatistics } from 'xsknet/protocol'
import { type Binding, type binding, loadBinding } from '../binding.js'
import type { Credentials } from '../policy/credentials.js'
import type { UserSet } from '../policy/trusted-users.js'
import { mountHint } from '../runtime/mount-hint.js'
import { checkStateFolder } from '../runtime/state-folder.js'
import type {
  HostChange,
  Instance,
  Loss,
  OpenedPinnedPort,
  OpenedPort,
  Refusals,
  Told,
  UplinkMode,
} from './instance.js'
import type { Lab } from './lab.js'
import type { Platform } from './platform.js'
import type { Connection, Descriptors, Listener } from './transport.js'

export type PinnedSocketRequest = binding.PinnedSocketRequest

/** The machine that this process runs on. */
export const thisPlatform: Platform = {
  instance: () => new NativeInstance(new (native().Instance)()),
  sweepDead: () => typed(() => native().Instance.sweepDead()),
  listener: () => new NativeListener(new (native().ControlServer)()),
}

/** The BPF objects in the binding, as compiled. */
export const bpfObjects = (): { name: string; bytes: Uint8Array }[] => native().bpfObjects()

/** Replaces this process by a program, as execve(2) does. Returns only by throwing. */
export function replaceProcess(file: string, words: string[], environment: [name: string, value: string][]): void {
  typedNow(() => native().startAnew(file, words, environment))
}

/** Keeps SIGUSR1 from opening Node's inspector, whichever thread calls it. Listeners are still called. */
export function ignoreInspectorSignal(): void {
  typedNow(() => native().ignoreInspectorSignal())
}

/** The labs of this machine, by name. */
export const labs = {
  /** Builds it unless it exists. */
  raise: (name: string): Promise<Lab> => typed(async () => (await native().raiseLab(name)) as Lab),
  /** Removes it; resolves with the paths of its namespaces, none if there was no such lab. */
  remove: (name: string): Promise<string[]> => typed(() => native().removeLab(name)),
}

class NativeListener implements Listener {
  readonly #server: binding.ControlServer

  constructor(server: binding.ControlServer) {
    this.#server = server
  }

  listen(...[path, allUsers, limits, onConnection]: Parameters<Listener['listen']>) {
    const { trusted, descriptors } = limits
    const copied = { ...limits, trusted: copyOf(trusted), descriptors: copyOf(descriptors) }
    return typed(() =>
      this.#server.listen(path, allUsers, copied, (connection) => onConnection(new NativeConnection(connection))),
    )
  }

  close() {
    return typed(() => this.#server.close())
  }

  closeNow(): void {
    this.#server.closeNow()
  }
}

const copyOf = ({ uids, gids }: UserSet) => ({ uids: [...uids], gids: [...gids] })

class NativeConnection implements Connection {
  readonly #connection: binding.Connection
  readonly credentials: Credentials
  readonly longest: number
  readonly sendsDescriptors: boolean

  constructor(connection: binding.Connection) {
    this.#connection = connection
    this.credentials = connection.credentials
    this.longest = connection.longest
    this.sendsDescriptors = connection.sendsDescriptors
  }

  start(...how: Parameters<Connection['start']>): void {
    this.#connection.start(...how)
  }

  send(message: Uint8Array, descriptors?: Descriptors): boolean {
    return this.#connection.send(message, descriptors as binding.Descriptors | undefined)
  }

  namespace(): Descriptors {
    return typedNow(() => this.#connection.namespace())
  }

  done(): void {
    this.#connection.done()
  }

  close(): void {
    this.#connection.close()
  }
}

class NativeInstance implements Instance {
  readonly #instance: binding.Instance
  /** Callbacks for ports that have been closed but not yet freed by the kernel. */
  readonly #waiting = new Map<number, () => void>()

  constructor(instance: binding.Instance) {
    this.#instance = instance
  }

  async begin(name: string | undefined) {
    checkStateFolder()
    const begun = await typed(() => this.#instance.open(name === undefined ? {} : { name }))
    this.#instance.onFreed((port) => {
      this.#waiting.get(port)?.()
      this.#waiting.delete(port)
    })
    return begun
  }

  onChange(listener: (change: HostChange) => void): void {
    typedNow(() => this.#instance.onChange(listener))
  }

  onLoss(listener: (loss: Loss) => void): void {
    typedNow(() => this.#instance.onLoss(listener))
  }

  manage(uplink: string, mode: UplinkMode) {
    return typed(() => this.#instance.manage(uplink, mode))
  }

  hugePageBytes() {
    const [, kib] = /^Hugepagesize:\s*(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8')) ?? []
    return Number(kib ?? 0) * 1024
  }

  checkPort(...[uplink, request]: Parameters<Instance['checkPort']>): void {
    typedNow(() => this.#instance.checkPort(uplink, requestOf(request)))
  }

  checkPinnedPort(...[uplink, request]: Parameters<Instance['checkPinnedPort']>): void {
    typedNow(() => this.#instance.checkPinnedPort(uplink, requestOf(request)))
  }

  openPort(...[uplink, request, terms]: Parameters<Instance['openPort']>): Promise<OpenedPort> {
    return typed(() => this.#instance.openPort(uplink, requestOf(request), terms))
  }

  openPinnedPort(
    ...[uplink, request, terms, gid, namespace, own]: Parameters<Instance['openPinnedPort']>
  ): Promise<OpenedPinnedPort> {
    return typed(() =>
      this.#instance.openPinnedPort(
        uplink,
        requestOf(request),
        { terms, gid },
        namespace as binding.Descriptors,
        own as binding.Descriptors,
      ),
    )
  }

  shareSocket(port: number, socket: Descriptors) {
    return typed(() => this.#instance.shareSocket(port, socket as binding.Descriptors))
  }

  changeFlows(...[port, change, flows, overrideHost]: Parameters<Instance['changeFlows']>) {
    return typed(() => this.#instance.changeFlows(port, change, [...flows], overrideHost))
  }

  flowsOutside(flows: readonly string[], granted: readonly string[]) {
    return typed(() => native().Instance.flowsOutside([...flows], [...granted]))
  }

  changeGroups(...[port, change, groups]: Parameters<Instance['changeGroups']>) {
    return typed(() => this.#instance.changeGroups(port, change, [...groups]))
  }

  closePort(port: number) {
    return typed(() => this.#instance.closePort(port))
  }

  /** Is called before `onFreed` can report the port, which happens in a later turn of the event loop. */
  freed(port: number): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(port, resolve))
  }

  portStatistics(port: number) {
    return typed(() => this.#instance.portStatistics(port))
  }

  async uplinkStatistics(uplink: string) {
    // `closed` is a sum, which always contains socket statistics.
    return (await typed(() => this.#instance.uplinkStatistics(uplink))) as UplinkStatistics
  }

  async explainArrival(uplink: string, packet: Uint8Array) {
    return JSON.parse(await typed(() => this.#instance.explainArrival(uplink, packet))) as Told
  }

  async explainSending(port: number, packet: Uint8Array) {
    return JSON.parse(await typed(() => this.#instance.explainSending(port, packet))) as Told
  }

  async refusals(port: number) {
    return JSON.parse(await typed(() => this.#instance.refusals(port))) as Refusals
  }

  release(uplink: string) {
    return typed(() => this.#instance.release(uplink))
  }

  close() {
    return typed(() => this.#instance.close())
  }

  closeNow(): void {
    typedNow(() => this.#instance.closeNow())
  }
}

/**
 * Creates the socket of a pinned port, in this process and its network namespace, and puts it into the port's XSKMAP.
 */
export function makePinnedSocket(options: PinnedSocketRequest): Promise<binding.MadeSocket> {
  return typed(() => native().makePinnedSocket(options))
}

/** The request as the binding takes it: without `vlan` where that is `null`. */
function requestOf({
  vlan,
  ...request
}: Parameters<Instance['checkPort' | 'checkPinnedPort']>[1]): binding.PortRequest {
  return { ...request, ...(typeof vlan === 'number' && { vlan }) } as binding.PortRequest
}

async function typed<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw typedError(error)
  }
}

function typedNow<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw typedError(error)
  }
}

/** The binding encodes its errors as JSON in the message of an `Error`. */
function typedError(error: unknown): unknown {
  if (!(error instanceof Error) || !/^\{.*"code":"ERR_XSKNET_/s.test(error.message)) return error
  const failure = JSON.parse(error.message) as Failure
  const hint = failure.code === 'ERR_XSKNET_MOUNTS_HIDDEN' ? mountHint() : undefined
  return failed(hint === undefined ? failure : { ...failure, hint })
}

let loaded: Binding | undefined

function native(): Binding {
  loaded ??= loadBinding()
  return loaded
}
