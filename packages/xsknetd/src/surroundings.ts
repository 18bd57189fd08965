/**
 * What Node lets others do to a process with root's rights, from outside of it: its environment, and its inspector.
 *
 * @module
 */
import { isSea } from 'node:sea'
import { isMainThread } from 'node:worker_threads'
import { XsknetError } from 'xsknet'
import { ignoreInspectorSignal, startAnew } from './native.js'
import { steering } from './steering.js'

/**
 * Starts this program anew, in the same process, if its environment steers Node. Node has read it by now, so that taking the
 * variables away is not enough. Returns where there is nothing to take away.
 *
 * @throws {XsknetError} `ERR_XSKNET_KERNEL_REFUSED`.
 */
export function leaveEnvironment(): void {
  const names = steering(process.env)
  if (names.length === 0) return
  const kept = Object.entries(process.env).flatMap(([name, value]): [string, string][] =>
    value === undefined || names.includes(name) ? [] : [[name, value]],
  )
  // One executable brings its own words for Node along, and its second word is itself.
  const [, script = '', ...words] = process.argv
  const command = isSea() ? words : [...process.execArgv, script, ...words]
  startAnew(process.execPath, [process.argv0, ...command], kept)
}

/** Where Node's inspector can be reached by anybody on this machine; `undefined` while it is closed. */
export function inspectorUrl(): string | undefined {
  try {
    return process.getBuiltinModule('node:inspector').url()
  } catch {
    return undefined // this Node has none
  }
}

/** @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID` while Node's inspector is open. */
export function mustNotBeInspected(): void {
  const url = inspectorUrl()
  if (url === undefined) return
  throw new XsknetError(
    'ERR_XSKNET_CONFIGURATION_INVALID',
    `the daemon does not run while Node’s inspector is open at ${url}: every user of this machine could run code as root by it`,
    { hint: 'Start it without --inspect, and send it no SIGUSR1 while it starts.', details: { url } },
  )
}

/**
 * Keeps SIGUSR1 from opening the inspector of this process, for good: without its last listener, the signal would end the
 * process. Listeners of the program, before or later, hear it as ever.
 */
export function ignoreSignal(): void {
  // In a Worker, signals have no listeners.
  if (!isMainThread) ignoreInspectorSignal()
  else if (!process.listeners('SIGUSR1').includes(ignore)) process.on('SIGUSR1', ignore)
}

function ignore(): void {}
