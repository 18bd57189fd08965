import { closeSync, openSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import type { Configuration } from '../configuration/configuration.js'
import { type Daemon, regrant } from '../daemon/daemon.js'
import type { Log } from '../log/log.js'
import { reasonOf } from '../ports/port-manager.js'

/** What only a start can change. */
const FIXED = ['uplinks', 'mode', 'instance', 'socket', 'log'] as const

/**
 * Returns what reads the configuration again and puts its grants in the place of the daemon's. A file that cannot be followed changes
 * nothing. Several calls follow one another.
 *
 * @param begun What the daemon was started with.
 * @param read Reads it again; `undefined` where there is no file.
 */
export function reloader(
  starting: Promise<Daemon>,
  begun: Configuration,
  read: (() => Configuration) | undefined,
  log: Log,
): () => Promise<void> {
  const reload = async () => {
    const daemon = await starting
    if (!read) return log('reload-refused', { message: 'the daemon was started without a configuration file' })
    let configuration: Configuration
    try {
      configuration = read()
    } catch (error) {
      return log('reload-refused', reasonOf(error))
    }
    const { grants } = configuration
    const later = FIXED.filter((key) => !isDeepStrictEqual(configuration[key], begun[key]))
    await regrant(daemon, grants)
    log('reloaded', { grants: grants.length, ...(later.length > 0 && { atNextStart: later }) })
  }
  let turn = Promise.resolve()
  return () => {
    turn = turn.then(reload).catch((error) => log('reload-failed', reasonOf(error)))
    return turn
  }
}

/** Whether this process has a terminal, whose end is told by SIGHUP too. */
export function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch {
    return false
  }
}
