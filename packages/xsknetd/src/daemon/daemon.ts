import { isDeepStrictEqual } from 'node:util'
import {
  type Configuration,
  checkConfiguration,
  type GrantOptions,
  type Settings,
  socketOf,
} from '../configuration/configuration.js'
import type { Log } from '../log/log.js'
import { type Machine, thisMachine } from '../platform/native.js'
import { ignoreSignal, inspectorUrl } from '../platform/process-hardening.js'
import type { Listener } from '../platform/transport.js'
import { usualMemory } from '../policy/memory-limit.js'
import type { Grant } from '../policy/policy.js'
import { type Trust, trustOf } from '../policy/trust.js'
import { Estate, reasonOf } from '../ports/port-manager.js'
import { version } from '../runtime/version.js'
import { Server, wireLimits } from '../server/server.js'

/** What {@link startDaemon} is told: the same as the configuration file says, but for what is said here. */
export interface DaemonOptions extends Omit<Settings, 'log'> {
  /** The cards to be managed. */
  uplinks: string[]
  /**
   * Tells several daemons of one machine apart: 1 to 32 letters, digits, `-` and `_`. Default: a name of its own,
   * `embedded-<process>-<number>`, so that any number of them run side by side, each on cards of its own.
   */
  instance?: string | undefined
  /**
   * Where clients connect, a path from the root. Default: `/run/xsknet/<instance>.sock`. Every user may connect if `instance` or
   * `grants` are given, as with `xsknetd run`; without them only this process's user and root may.
   */
  socket?: string | undefined
  /** Who may have what, beside root. Default: nobody. */
  grants?: GrantOptions[] | undefined
  /** Hears of what happens. Default: nothing is written. */
  log?: Log | undefined
}

/** A running daemon. */
export interface Daemon {
  /** Where clients connect. */
  readonly socket: string
  readonly instance: string
  /** The cards that it was told to manage. */
  readonly uplinks: readonly string[]
  /** Settles with {@link close}. */
  readonly closed: Promise<void>
  /** Has the process, or the Worker, live as long as the daemon is open. That is so unless {@link unref} was called. */
  ref(): this
  /** Lets the process end although the daemon is open: it is closed then. */
  unref(): this
  /**
   * Tells all clients that their ports go, closes them, and leaves the host as it was found. Every call returns the same promise;
   * it rejects where something could not be undone, which the next start then tries again.
   */
  close(): Promise<void>
}

/**
 * Starts a daemon inside this process, which needs root. When it fails, nothing of it is left.
 *
 * It is closed by {@link Daemon.close}, and by the end of its thread: the process's, by `process.exit()`, by an exception that
 * nobody catches, or because nothing is left to do; or the Worker's, `terminate()` included. A signal that nobody handles, SIGTERM
 * and SIGINT among them, kills the process on the spot, as SIGKILL does: its clients' ports go on until the next daemon that is
 * started in this network namespace puts back what was left, if it has the same instance or this one had a name of its own.
 * To close on a signal:
 *
 * ```ts
 * process.once('SIGTERM', () => void daemon.close())
 * process.once('SIGINT', () => void daemon.close())
 * ```
 *
 * SIGUSR1 does not open Node's inspector any more once this was called, since any user of the machine could then run code as root;
 * listeners for it hear it. An inspector that is open already is told to `log`.
 *
 * Packets never pass this process's JavaScript: a blocked event loop delays requests for ports, and nothing else.
 *
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`, `ERR_XSKNET_NOT_PERMITTED` and others that say what a card, the kernel
 * or another instance refused.
 */
export async function startDaemon({ log = () => {}, ...options }: DaemonOptions): Promise<Daemon> {
  ignoreSignal()
  const url = inspectorUrl()
  if (url !== undefined) log('inspector-open', { url })
  return launch(checkConfiguration(options), log)
}

/** What puts other grants in the place of a daemon's own. */
const regrants = new WeakMap<Daemon, (grants: readonly Grant[]) => Promise<void>>()

/**
 * Puts other grants in the place of a daemon's own. Open ports stay. Where others may connect or send descriptors by them, the control
 * socket is made anew, since it was told at its beginning whom to trust; connections live on.
 */
export async function regrant(daemon: Daemon, grants: readonly Grant[]): Promise<void> {
  await regrants.get(daemon)?.(grants)
}

/** Tells of what is nearly always a slip. */
function tellUnmanaged(grants: readonly Grant[], uplinks: readonly string[], log: Log): void {
  for (const { origin, uplinks: granted } of grants) {
    const unmanaged = granted.filter((uplink) => !uplinks.includes(uplink))
    if (unmanaged.length > 0) log('grant-without-uplink', { grant: origin, uplinks: unmanaged })
  }
}

/** Starts a daemon on a machine. */
export async function launch(configuration: Configuration, log: Log, machine: Machine = thisMachine): Promise<Daemon> {
  const { uplinks, mode, grants } = configuration
  const memory = { most: usualMemory(), ...configuration.memory }
  tellUnmanaged(grants, uplinks, log)
  const ground = machine.instance()
  const estate = new Estate(ground, grants, memory, log)
  let listener = machine.listener()
  const outlived = beforeExit(() => {
    listener.closeNow()
    try {
      ground.closeNow()
    } catch (error) {
      log('undo-failed', reasonOf(error))
    }
  })
  let instance: string
  let socket: string
  let server: Server
  /** Whom the socket was told to trust; `undefined` while there is none. */
  let trust: Trust | undefined = trustOf(grants)
  const everybody = configuration.instance !== undefined || grants.length > 0
  const listen = (trust: Trust) =>
    listener.listen(socket, everybody, { ...wireLimits, ...trust }, (wire) => server.accept(wire))
  try {
    instance = await ground.begin(configuration.instance)
    socket = configuration.socket ?? socketOf(instance)
    for (const { instance, failure } of await machine.sweepDead()) {
      if (failure === undefined) log('instance-swept', { instance })
      else log('sweep-failed', { instance, message: failure })
    }
    await estate.manage(uplinks, mode)
    server = new Server(estate, { daemon: `xsknetd ${version}`, instance }, log, trust)
    await listen(trust)
  } catch (error) {
    await estate.close().catch((undoing) => log('undo-failed', reasonOf(undoing)))
    outlived()
    throw error
  }
  log('ready', { socket, instance, uplinks, grants: grants.length, memory: memory.most, pid: process.pid, version })

  const running = { listener: () => listener, estate, server }
  // Neither the listener nor anything else of it keeps the thread.
  const alive = setInterval(() => {}, 2 ** 31 - 1)
  let ending: Promise<void> | undefined
  let settle: (end: Promise<void>) => void
  const closed = new Promise<void>((resolve) => {
    settle = resolve
  })
  // Whoever only calls `close()` has the error from there.
  closed.catch(() => {})
  const close = () => {
    ending ??= end(running, log).finally(() => {
      clearInterval(alive)
      outlived()
    })
    settle(ending)
    return ending
  }
  const daemon: Daemon = {
    socket,
    instance,
    uplinks,
    closed,
    close,
    ref() {
      alive.ref()
      return daemon
    },
    unref() {
      alive.unref()
      return daemon
    },
  }
  regrants.set(daemon, async (grants) => {
    if (ending) return
    tellUnmanaged(grants, uplinks, log)
    estate.regrant(grants)
    const next = trustOf(grants)
    if (isDeepStrictEqual(next, trust)) return
    server.retrust(next)
    trust = undefined
    await listener.close()
    listener = machine.listener()
    // Whoever ends the daemon from here on ends this listener.
    if (ending) return
    await listen(next)
    trust = next
  })
  return daemon
}

interface Running {
  /** The one of this moment. */
  readonly listener: () => Listener
  readonly estate: Estate
  readonly server: Server
}

/** The socket goes first: with it, the instance's folder may be empty. Clients hear why their ports go before they are cut off. */
async function end({ listener, estate, server }: Running, log: Log): Promise<void> {
  log('closing')
  await listener()
    .close()
    .catch((error) => log('socket-close-failed', reasonOf(error)))
  try {
    await estate.close()
  } finally {
    server.close()
  }
  log('closed')
}

/** What this thread has to undo before it exits. It also keeps daemons that their owner has forgotten from being collected. */
const pending = new Set<() => void>()

function undoAll(): void {
  for (const undo of pending) undo()
}

/**
 * Has something undone when the thread exits: Node runs no finalizer then, but for a Worker that is terminated.
 *
 * @returns To be called when there is nothing left to undo.
 */
function beforeExit(undo: () => void): () => void {
  if (pending.size === 0) process.on('exit', undoAll)
  pending.add(undo)
  return () => {
    pending.delete(undo)
    if (pending.size === 0) process.off('exit', undoAll)
  }
}
