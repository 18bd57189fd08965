import { isDeepStrictEqual } from 'node:util'
import { type Configuration, checkConfiguration, socketOf } from '../configuration/configuration.js'
import type { DaemonSettings } from '../configuration/daemon-settings.js'
import type { GrantOptions } from '../configuration/grant-options.js'
import { errorFields, type Log } from '../log/log.js'
import { thisPlatform } from '../platform/native.js'
import type { Platform } from '../platform/platform.js'
import { disableInspectorSignal, inspectorUrl } from '../platform/process-hardening.js'
import type { Listener } from '../platform/transport.js'
import type { Grant } from '../policy/grant.js'
import { defaultMemoryLimit } from '../policy/memory-limit.js'
import { type TrustedUsers, trustedUsers } from '../policy/trusted-users.js'
import { PortManager } from '../ports/port-manager.js'
import { version } from '../runtime/version.js'
import { connectionLimits, Server } from '../server/server.js'

/**
 * Options of {@link startDaemon}: the settings of the configuration file, with other defaults where a field says so.
 */
export interface DaemonOptions extends Omit<DaemonSettings, 'log'> {
  /** Names of the interfaces to manage, each 1 to 15 characters. At least one. */
  uplinks: string[]
  /**
   * Name of the instance: 1 to 32 letters, digits, `-` and `_`. Default: a unique name, `embedded-<process>-<number>`,
   * so that any number of daemons can run side by side, each with uplinks of its own.
   */
  instance?: string | undefined
  /**
   * Absolute path of the control socket. Default: `/run/xsknet/<instance>.sock`. If `instance` or `grants` are given,
   * every user may connect, as with `xsknetd run`; otherwise only root and this process's user may.
   */
  socket?: string | undefined
  /** What users other than root may have. Default: nothing. */
  grants?: GrantOptions[] | undefined
  /** Called for each event of the daemon. Default: nothing is logged. */
  log?: Log | undefined
}

/** A running daemon. */
export interface Daemon {
  /** Path of the control socket. */
  readonly socket: string
  /** Name of the instance. */
  readonly instance: string
  /** Names of the interfaces that it was started with. */
  readonly uplinks: readonly string[]
  /** Settles like {@link close}. */
  readonly closed: Promise<void>
  /** Keeps the process or the Worker alive while the daemon is open. This is the default. */
  ref(): this
  /** Lets the process exit while the daemon is open, which closes it. */
  unref(): this
  /**
   * Notifies all clients that their ports are lost, closes the ports, and restores the host. Every call returns the
   * same promise. It rejects if something could not be undone; the next start tries again.
   */
  close(): Promise<void>
}

/**
 * Starts a daemon inside this process, which needs root privileges. If it fails, everything is undone.
 *
 * The daemon is closed by {@link Daemon.close}, and when its thread ends: the process by `process.exit()`, by an
 * uncaught exception or because nothing is left to do; a Worker also by `terminate()`. A signal without a handler, such
 * as SIGTERM or SIGINT, kills the process at once, like SIGKILL: the ports of its clients stay until the next daemon in
 * this network namespace cleans up, if it has the same instance name or if this one had a generated name. To close on a
 * signal:
 *
 * ```ts
 * process.once('SIGTERM', () => void daemon.close())
 * process.once('SIGINT', () => void daemon.close())
 * ```
 *
 * From the first call on, SIGUSR1 no longer opens Node's inspector, which any local user could use to run code as root.
 * Listeners for SIGUSR1 are still called. An inspector that is already open is reported to `log`.
 *
 * Packets never pass through JavaScript of this process: a blocked event loop delays only requests of clients.
 *
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`, `ERR_XSKNET_NOT_PERMITTED`, and others for what an
 * interface, the kernel or another instance refused.
 */
export async function startDaemon({ log = () => {}, ...options }: DaemonOptions): Promise<Daemon> {
  disableInspectorSignal()
  const url = inspectorUrl()
  if (url !== undefined) log('inspector-open', { url })
  return launch(checkConfiguration(options), log)
}

const grantReplacers = new WeakMap<Daemon, (grants: readonly Grant[]) => Promise<void>>()

/**
 * Replaces the grants of a daemon. Open ports and connections stay. If other users may now connect or send descriptors,
 * the control socket is created anew, because its trusted users are fixed when it is created.
 */
export async function replaceGrants(daemon: Daemon, grants: readonly Grant[]): Promise<void> {
  await grantReplacers.get(daemon)?.(grants)
}

/** Logs grants for interfaces that the daemon does not manage, which are usually mistakes. */
function logUnmanaged(grants: readonly Grant[], uplinks: readonly string[], log: Log): void {
  for (const { origin, uplinks: granted } of grants) {
    const unmanaged = granted.filter((uplink) => !uplinks.includes(uplink))
    if (unmanaged.length > 0) log('grant-without-uplink', { grant: origin, uplinks: unmanaged })
  }
}

/** Starts a daemon with a validated configuration. */
export async function launch(
  configuration: Configuration,
  log: Log,
  platform: Platform = thisPlatform,
): Promise<Daemon> {
  const { uplinks, mode, grants } = configuration
  const memory = { bytes: defaultMemoryLimit(), ...configuration.memory }
  logUnmanaged(grants, uplinks, log)
  const instance = platform.instance()
  const portManager = new PortManager(instance, grants, memory, log)
  let listener = platform.listener()
  const cancelExit = beforeExit(() => {
    listener.closeNow()
    try {
      instance.closeNow()
    } catch (error) {
      log('undo-failed', errorFields(error))
    }
  })
  let name: string
  let socket: string
  let server: Server
  /** The users that the control socket trusts; `undefined` while there is no socket. */
  let trusted: TrustedUsers | undefined = trustedUsers(grants)
  const allUsers = configuration.instance !== undefined || grants.length > 0
  const listen = (users: TrustedUsers) =>
    listener.listen(socket, allUsers, { ...connectionLimits, ...users }, (connection) => server.accept(connection))
  try {
    name = await instance.begin(configuration.instance)
    socket = configuration.socket ?? socketOf(name)
    for (const { instance, failure } of await platform.sweepDead()) {
      if (failure === undefined) log('instance-swept', { instance })
      else log('sweep-failed', { instance, message: failure })
    }
    await portManager.checkGrants(grants)
    await portManager.manage(uplinks, mode)
    server = new Server(portManager, { daemon: `xsknetd ${version}`, instance: name }, log, trusted)
    await listen(trusted)
  } catch (error) {
    await portManager.close().catch((undoing) => log('undo-failed', errorFields(undoing)))
    cancelExit()
    throw error
  }
  log('ready', {
    socket,
    instance: name,
    uplinks,
    grants: grants.length,
    memory: memory.bytes,
    pid: process.pid,
    version,
  })

  const running = { listener: () => listener, portManager, server }
  // Nothing else of the daemon keeps the thread alive, the listener included.
  const alive = setInterval(() => {}, 2 ** 31 - 1)
  let ending: Promise<void> | undefined
  let settle: (end: Promise<void>) => void
  const closed = new Promise<void>((resolve) => {
    settle = resolve
  })
  // A caller that only uses `close()` gets the error from there.
  closed.catch(() => {})
  const close = () => {
    ending ??= end(running, log).finally(() => {
      clearInterval(alive)
      cancelExit()
    })
    settle(ending)
    return ending
  }
  const daemon: Daemon = {
    socket,
    instance: name,
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
  grantReplacers.set(daemon, async (grants) => {
    if (ending) return
    await portManager.checkGrants(grants)
    logUnmanaged(grants, uplinks, log)
    portManager.replaceGrants(grants)
    const next = trustedUsers(grants)
    if (isDeepStrictEqual(next, trusted)) return
    server.setTrustedUsers(next)
    trusted = undefined
    await listener.close()
    listener = platform.listener()
    // From here on, closing the daemon closes this listener.
    if (ending) return
    await listen(next)
    trusted = next
  })
  return daemon
}

interface Running {
  /** The current listener; replacing the grants may replace it. */
  readonly listener: () => Listener
  readonly portManager: PortManager
  readonly server: Server
}

/**
 * The socket goes first, since it may be in the instance's folder. Clients are notified before they are disconnected.
 */
async function end({ listener, portManager, server }: Running, log: Log): Promise<void> {
  log('closing')
  await listener()
    .close()
    .catch((error) => log('socket-close-failed', errorFields(error)))
  try {
    await portManager.close()
  } finally {
    server.close()
  }
  log('closed')
}

/** What this thread has to undo before it exits. It also keeps unreferenced daemons from being garbage-collected. */
const pending = new Set<() => void>()

function undoAll(): void {
  for (const undo of pending) undo()
}

/**
 * Undoes something when the thread exits, because Node runs finalizers then only for a Worker that is terminated.
 *
 * @returns Cancels it, once there is nothing left to undo.
 */
function beforeExit(undo: () => void): () => void {
  if (pending.size === 0) process.on('exit', undoAll)
  pending.add(undo)
  return () => {
    pending.delete(undo)
    if (pending.size === 0) process.off('exit', undoAll)
  }
}
