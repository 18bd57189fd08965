import { readdirSync, statSync } from 'node:fs'
import { quoted } from './shell.js'
import { isSea } from './single-executable.js'

/** Where `ip netns` keeps the namespaces that it names. */
const NAMED = '/run/netns'

/**
 * What to do where the mounts of this process are its own because `ip netns exec` started it: that gives a program the network namespace,
 * and mounts of its own with it, in which the daemon's would be lost at its end. `undefined` where it was not that.
 */
export function hintOnMounts(): string | undefined {
  const name = namespaceName()
  if (name === undefined) return undefined
  const [node, ...words] = isSea()
    ? [process.execPath, ...process.argv.slice(2)]
    : [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const command = [node, ...words].map((word) => quoted(word ?? '')).join(' ')
  return `Under \`ip netns exec\`, enter the network namespace alone instead: \`nsenter --net=${NAMED}/${name} -- ${command}\`.`
}

/** What `ip netns` calls the network namespace of this process, unless that is the machine's own. */
function namespaceName(): string | undefined {
  const own = identityOf('/proc/self/ns/net')
  // Not every root may look at process 1; hardly anybody names its namespace.
  if (own === undefined || own === identityOf('/proc/1/ns/net')) return undefined
  try {
    return readdirSync(NAMED).find((name) => identityOf(`${NAMED}/${name}`) === own)
  } catch {
    return undefined // nobody ever named one
  }
}

/** `undefined` where there is none that this process may look at. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path)
    return `${dev} ${ino}`
  } catch {
    return undefined
  }
}
