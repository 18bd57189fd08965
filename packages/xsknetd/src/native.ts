import { type Failure, fromFailure } from 'xsknet/protocol'
import { type Binding, type binding, loadBinding } from './binding.js'
import type { Ground, Loss, OpenedPort, UplinkMode } from './ground.js'
import type { Lab } from './lab.js'
import type { Listener, Wire, WireLimits } from './wire.js'

/** What the daemon needs of the machine. */
export interface Machine {
  /** Takes hold of an instance, after undoing what an earlier run of its name left. */
  openInstance(name: string): Promise<Ground>
  /** Opens the socket that clients connect to. */
  listen(path: string, limits: WireLimits, onConnection: (wire: Wire) => void): Promise<Listener>
}

/** The machine that this process runs on. */
export const thisMachine: Machine = {
  openInstance: async (name) => new NativeGround(await typed(() => native().Instance.open({ name }))),
  listen: (path, limits, onConnection) => typed(() => native().ControlServer.listen(path, limits, onConnection)),
}

/** The BPF objects inside the binding, as they were compiled. */
export const bpfObjects = (): { name: string; bytes: Uint8Array }[] => native().bpfObjects()

/** Labs by their names; all of this machine, whoever built them. */
export const labs = {
  /** Builds it unless it stands. */
  raise: (name: string): Promise<Lab> => typed(async () => (await native().raiseLab(name)) as Lab),
  /** The paths of its namespaces; none where there was no lab. */
  remove: (name: string): Promise<string[]> => typed(() => native().removeLab(name)),
}

class NativeGround implements Ground {
  readonly #instance: binding.Instance

  constructor(instance: binding.Instance) {
    this.#instance = instance
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

  openPort(uplink: string, request: Parameters<Ground['openPort']>[1]): Promise<OpenedPort> {
    return typed(() => this.#instance.openPort(uplink, request as binding.PortRequest))
  }

  closePort(port: number) {
    return typed(() => this.#instance.closePort(port))
  }

  portStatistics(port: number) {
    return typed(() => this.#instance.portStatistics(port))
  }

  uplinkStatistics(uplink: string) {
    return typed(() => this.#instance.uplinkStatistics(uplink))
  }

  release(uplink: string) {
    return typed(() => this.#instance.release(uplink))
  }

  close() {
    return typed(() => this.#instance.close())
  }
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
  return fromFailure(JSON.parse(error.message) as Failure)
}

let loaded: Binding | undefined

function native(): Binding {
  loaded ??= loadBinding()
  return loaded
}
