import { closeSync, openSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import type { Configuration } from '../configuration/configuration.js'
import { type Daemon, replaceGrants } from '../daemon/daemon.js'
import { errorFields, type Log } from '../log/log.js'

/** Settings that only a restart can change. */
const FIXED = ['uplinks', 'mode', 'instance', 'socket', 'log'] as const

/**
 * Returns a function that reads the configuration again and replaces the daemon's grants. An invalid file changes
 * nothing. Concurrent calls run one after the other.
 *
 * @param initial The configuration that the daemon was started with.
 * @param read Reads it again; `undefined` if there is no file.
 */
export function reloader(
  starting: Promise<Daemon>,
  initial: Configuration,
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
      return log('reload-refused', errorFields(error))
    }
    const { grants } = configuration
    const atNextStart = FIXED.filter((key) => !isDeepStrictEqual(configuration[key], initial[key]))
    await replaceGrants(daemon, grants)
    log('reloaded', { grants: grants.length, ...(atNextStart.length > 0 && { atNextStart }) })
  }
  let last = Promise.resolve()
  return () => {
    last = last.then(reload).catch((error) => log('reload-failed', errorFields(error)))
    return last
  }
}

/** Whether this process has a controlling terminal; when that is closed, the kernel sends SIGHUP too. */
export function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch {
    return false
  }
}
