/**
 * What Node lets others do to a process with root's rights, from outside of it: its environment, and its inspector.
 *
 * @module
 */
import { isMainThread } from 'node:worker_threads'
import { XsknetError } from 'xsknet'
import { steering } from '../runtime/node-environment.js'
import { isSea } from '../runtime/single-executable.js'
import { ignoreInspectorSignal, startAnew } from './native.js'

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
    { hint: howToCloseInspector(process.env.NODE_OPTIONS ?? '', process.execArgv), details: { url } },
  )
}

function howToCloseInspector(options: string, words: readonly string[]): string {
  const opens = /^--(inspect|debug)/
  // Node takes both for the same option.
  if (options.split(/\s+/).some((word) => opens.test(word.replaceAll('_', '-').replace(/^"/, ''))))
    return `NODE_OPTIONS opens it: start the daemon without that variable, by \`env --unset=NODE_OPTIONS\` for example. It is \`${options}\`.`
  const word = words.find((word) => opens.test(word.replaceAll('_', '-')))
  if (word !== undefined) return `\`${word}\` opens it: start Node without.`
  return 'SIGUSR1 opened it: send the daemon none while it starts.'
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
