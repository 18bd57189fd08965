import { readFileSync } from 'node:fs'
import { failed } from 'xsknet/internal'
import type { Failure, UplinkStatistics } from 'xsknet/protocol'
import { type Binding, type binding, loadBinding } from '../binding.js'
import type { Lab } from '../cli/lab.js'
import type { Party } from '../policy/trust.js'
import { hintOnMounts } from '../runtime/mount-hint.js'
import { checkStateFolder } from '../runtime/state-folder.js'
import type { Change, Ground, Loss, OpenedPinnedPort, OpenedPort, Swept, UplinkMode } from './instance.js'
import type { Credentials, Descriptors, Listener, Wire } from './transport.js'

export type PinnedSocketRequest = binding.PinnedSocketRequest

/** What the daemon needs of the machine. */
export interface Machine {
  /** An instance that is not open yet. */
  instance(): Ground
  /** Undoes what instances without a name of their own left in this network namespace when their processes were killed. */
  sweepDead(): Promise<Swept[]>
  /** A control socket that does not listen yet. */
  listener(): Listener
}

/** The machine that this process runs on. */
export const thisMachine: Machine = {
  instance: () => new NativeGround(new (native().Instance)()),
  sweepDead: () => typed(() => native().Instance.sweepDead()),
  listener: () => new NativeListener(new (native().ControlServer)()),
}

/** The BPF objects inside the binding, as they were compiled. */
export const bpfObjects = (): { name: string; bytes: Uint8Array }[] => native().bpfObjects()

/** Starts a program anew in this process. Returns only by throwing. */
export function startAnew(file: string, words: string[], environment: [name: string, value: string][]): void {
  try {
    native().startAnew(file, words, environment)
  } catch (error) {
    throw typedError(error)
  }
}

/** Has SIGUSR1 not open Node's inspector, whichever thread calls it. Listeners hear it as before. */
export function ignoreInspectorSignal(): void {
  try {
    native().ignoreInspectorSignal()
  } catch (error) {
    throw typedError(error)
  }
}

/** Labs by their names; all of this machine, whoever built them. */
export const labs = {
  /** Builds it unless it stands. */
  raise: (name: string): Promise<Lab> => typed(async () => (await native().raiseLab(name)) as Lab),
  /** The paths of its namespaces; none where there was no lab. */
  remove: (name: string): Promise<string[]> => typed(() => native().removeLab(name)),
}

class NativeListener implements Listener {
  readonly #server: binding.ControlServer

  constructor(server: binding.ControlServer) {
    this.#server = server
  }

  listen(...[path, everybody, limits, onConnection]: Parameters<Listener['listen']>) {
    const { trusted, descriptors } = limits
    const copied = { ...limits, trusted: copyOf(trusted), descriptors: copyOf(descriptors) }
    return typed(() =>
      this.#server.listen(path, everybody, copied, (connection) => onConnection(new NativeWire(connection))),
    )
  }

  close() {
    return typed(() => this.#server.close())
  }

  closeNow(): void {
    this.#server.closeNow()
  }
}

const copyOf = ({ uids, gids }: Party) => ({ uids: [...uids], gids: [...gids] })

class NativeWire implements Wire {
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

  start(...how: Parameters<Wire['start']>): void {
    this.#connection.start(...how)
  }

  send(message: Uint8Array, descriptors?: Descriptors): boolean {
    return this.#connection.send(message, descriptors as binding.Descriptors | undefined)
  }

  namespace(): Descriptors {
    try {
      return this.#connection.namespace()
    } catch (error) {
      throw typedError(error)
    }
  }

  done(): void {
    this.#connection.done()
  }

  close(): void {
    this.#connection.close()
  }
}

class NativeGround implements Ground {
  readonly #instance: binding.Instance
  /** Those who wait until nothing is left of a port. */
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

  onChange(listener: (change: Change) => void): void {
    try {
      this.#instance.onChange(listener)
    } catch (error) {
      throw typedError(error)
    }
  }

  onLoss(listener: (loss: Loss) => void): void {
    try {
      this.#instance.onLoss(listener)
    } catch (error) {
      throw typedError(error)
    }
  }

  manage(uplink: string, mode: UplinkMode) {
    return typed(() => this.#instance.manage(uplink, mode))
  }

  hugePageBytes() {
    const [, kib] = /^Hugepagesize:\s*(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8')) ?? []
    return Number(kib ?? 0) * 1024
  }

  checkPort(...[uplink, request]: Parameters<Ground['checkPort']>): void {
    try {
      this.#instance.checkPort(uplink, request as binding.PortRequest)
    } catch (error) {
      throw typedError(error)
    }
  }

  checkPinnedPort(...[uplink, request]: Parameters<Ground['checkPinnedPort']>): void {
    try {
      this.#instance.checkPinnedPort(uplink, request as binding.PinnedPortRequest)
    } catch (error) {
      throw typedError(error)
    }
  }

  openPort(...[uplink, request, terms]: Parameters<Ground['openPort']>): Promise<OpenedPort> {
    return typed(() => this.#instance.openPort(uplink, request as binding.PortRequest, terms))
  }

  openPinnedPort(
    ...[uplink, request, terms, gid, namespace, own]: Parameters<Ground['openPinnedPort']>
  ): Promise<OpenedPinnedPort> {
    return typed(() =>
      this.#instance.openPinnedPort(
        uplink,
        request as binding.PinnedPortRequest,
        { terms, gid },
        namespace as binding.Descriptors,
        own as binding.Descriptors,
      ),
    )
  }

  shareSocket(port: number, socket: Descriptors) {
    return typed(() => this.#instance.shareSocket(port, socket as binding.Descriptors))
  }

  closePort(port: number) {
    return typed(() => this.#instance.closePort(port))
  }

  /** Asked before the kernel's side can have told: that comes by a turn of the event loop. */
  freed(port: number): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(port, resolve))
  }

  portStatistics(port: number) {
    return typed(() => this.#instance.portStatistics(port))
  }

  async uplinkStatistics(uplink: string) {
    // Its `closed` is a sum, which always has a socket's part.
    return (await typed(() => this.#instance.uplinkStatistics(uplink))) as UplinkStatistics
  }

  release(uplink: string) {
    return typed(() => this.#instance.release(uplink))
  }

  close() {
    return typed(() => this.#instance.close())
  }

  closeNow(): void {
    try {
      this.#instance.closeNow()
    } catch (error) {
      throw typedError(error)
    }
  }
}

/** Makes the socket of a pinned port, in this process and its network namespace, and puts it into the port's XSKMAP. */
export function makePinnedSocket(options: PinnedSocketRequest): Promise<binding.MadeSocket> {
  return typed(() => native().makePinnedSocket(options))
}

async function typed<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw typedError(error)
  }
}

/** The binding writes its errors down as JSON in the message of an `Error`. */
function typedError(error: unknown): unknown {
  if (!(error instanceof Error) || !/^\{.*"code":"ERR_XSKNET_/s.test(error.message)) return error
  const failure = JSON.parse(error.message) as Failure
  const hint = failure.code === 'ERR_XSKNET_MOUNTS_HIDDEN' ? hintOnMounts() : undefined
  return failed(hint === undefined ? failure : { ...failure, hint })
}

let loaded: Binding | undefined

function native(): Binding {
  loaded ??= loadBinding()
  return loaded
}
