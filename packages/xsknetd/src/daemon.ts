import { type Configuration, checkConfiguration, type GrantOptions, type Settings } from './config.js'
import { Estate, reasonOf } from './estate.js'
import type { Log } from './log.js'
import { type Machine, thisMachine } from './native.js'
import { Server, wireLimits } from './server.js'
import { version } from './version.js'
import type { Listener } from './wire.js'

/** What {@link startDaemon} is told: the same as the configuration file says. */
export interface DaemonOptions extends Omit<Settings, 'log'> {
  /** The cards to be managed. */
  uplinks: string[]
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
  /**
   * Tells all clients that their ports go, closes them, and leaves the host as it was found. Every call returns the same promise;
   * it rejects where something could not be undone, which the next start then tries again.
   */
  close(): Promise<void>
}

/**
 * Starts a daemon inside this process, which needs root. When it fails, nothing of it is left.
 *
 * @throws {XsknetError}
 */
export async function startDaemon({ log = () => {}, ...options }: DaemonOptions): Promise<Daemon> {
  return launch(checkConfiguration(options), log)
}

/** Starts a daemon on a machine. */
export async function launch(configuration: Configuration, log: Log, machine: Machine = thisMachine): Promise<Daemon> {
  const { instance, socket, uplinks, mode, grants } = configuration
  for (const { origin, uplinks: granted } of grants) {
    const unmanaged = granted.filter((uplink) => !uplinks.includes(uplink))
    if (unmanaged.length > 0) log('grant-without-uplink', { grant: origin, uplinks: unmanaged })
  }
  const ground = await machine.openInstance(instance)
  const estate = new Estate(ground, grants, log)
  const daemon = `xsknetd ${version}`
  const server = new Server(estate, { daemon, instance }, log)
  let listener: Listener
  try {
    await estate.manage(uplinks, mode)
    listener = await machine.listen(socket, wireLimits, (wire) => server.accept(wire))
  } catch (error) {
    await estate.close().catch((undoing) => log('undo-failed', reasonOf(undoing)))
    throw error
  }
  log('ready', { socket, instance, uplinks, grants: grants.length, pid: process.pid, version })

  let ending: Promise<void> | undefined
  let settle: (end: Promise<void>) => void
  const closed = new Promise<void>((resolve) => {
    settle = resolve
  })
  // Whoever only calls `close()` has the error from there.
  closed.catch(() => {})
  const close = () => {
    ending ??= end({ listener, estate, server }, log)
    settle(ending)
    return ending
  }
  return { socket, instance, uplinks, closed, close }
}

/** The socket goes first: with it, the instance's folder may be empty. Clients hear why their ports go before they are cut off. */
async function end(
  { listener, estate, server }: { listener: Listener; estate: Estate; server: Server },
  log: Log,
): Promise<void> {
  log('closing')
  await listener.close().catch((error) => log('socket-close-failed', reasonOf(error)))
  try {
    await estate.close()
  } finally {
    server.close()
  }
  log('closed')
}
