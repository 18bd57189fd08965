/**
 * Closes the ways in which Node lets others control a process that runs as root: its environment and its inspector.
 *
 * @module
 */
import { isMainThread } from 'node:worker_threads'
import { XsknetError } from 'xsknet'
import { nodeVariables } from '../runtime/node-environment.js'
import { isSingleExecutable } from '../runtime/single-executable.js'
import { ignoreInspectorSignal, replaceProcess } from './native.js'

/**
 * Executes this program again, in the same process, without the environment variables that configure Node. Node has
 * already read them, so deleting them is not enough. Returns if there are none.
 *
 * @throws {XsknetError} `ERR_XSKNET_KERNEL_REFUSED`.
 */
export function restartWithoutNodeVariables(): void {
  const names = nodeVariables(process.env)
  if (names.length === 0) return
  const kept = Object.entries(process.env).flatMap(([name, value]): [string, string][] =>
    value === undefined || names.includes(name) ? [] : [[name, value]],
  )
  // The single executable has built-in options for Node, and its second argument is its own path.
  const [, script = '', ...words] = process.argv
  const command = isSingleExecutable() ? words : [...process.execArgv, script, ...words]
  replaceProcess(process.execPath, [process.argv0, ...command], kept)
}

/** The URL at which any local user can reach Node's inspector; `undefined` while it is closed. */
export function inspectorUrl(): string | undefined {
  try {
    return process.getBuiltinModule('node:inspector').url()
  } catch {
    return undefined // built without the inspector
  }
}

/** @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID` if Node's inspector is open. */
export function refuseInspector(): void {
  const url = inspectorUrl()
  if (url === undefined) return
  throw new XsknetError(
    'ERR_XSKNET_CONFIGURATION_INVALID',
    `the daemon does not run while Node's inspector is open at ${url}: any local user could use it to run code as root`,
    { hint: inspectorHint(process.env.NODE_OPTIONS ?? '', process.execArgv), details: { url } },
  )
}

function inspectorHint(options: string, words: readonly string[]): string {
  const opens = /^--(inspect|debug)/
  // Node accepts underscores in place of dashes.
  if (options.split(/\s+/).some((word) => opens.test(word.replaceAll('_', '-').replace(/^"/, ''))))
    return `NODE_OPTIONS (\`${options}\`) opens it: unset it, for example with \`env -u NODE_OPTIONS xsknetd …\`.`
  const word = words.find((word) => opens.test(word.replaceAll('_', '-')))
  if (word !== undefined) return `\`${word}\` opens it: start Node without this option.`
  return 'SIGUSR1 opened it: do not send that signal while the daemon starts.'
}

/**
 * Keeps SIGUSR1 from opening the inspector of this process, permanently: the listener is never removed, because without
 * any listener the signal would end the process. Other listeners of the program are still called.
 */
export function disableInspectorSignal(): void {
  // Signals cannot be handled in a Worker.
  if (!isMainThread) ignoreInspectorSignal()
  else if (!process.listeners('SIGUSR1').includes(ignore)) process.on('SIGUSR1', ignore)
}

function ignore(): void {}
