import { readdirSync, statSync } from 'node:fs'
import { shellQuoted } from './shell.js'
import { isSingleExecutable } from './single-executable.js'

/** Where `ip netns` mounts named network namespaces. */
const NAMED = '/run/netns'

/**
 * A hint for a process with a mount namespace of its own because `ip netns exec` started it: mounts that the daemon
 * makes there are lost when it exits. `undefined` if `ip netns exec` is not the cause.
 */
export function mountHint(): string | undefined {
  const name = namespaceName()
  if (name === undefined) return undefined
  const [node, ...words] = isSingleExecutable()
    ? [process.execPath, ...process.argv.slice(2)]
    : [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const command = [node, ...words].map((word) => shellQuoted(word ?? '')).join(' ')
  const nsenter = `nsenter --net=${NAMED}/${name} -- ${command}`
  return `Instead of \`ip netns exec\`, enter only the network namespace: \`${nsenter}\`.`
}

/** The name that `ip netns` gave to the network namespace of this process, unless that is the machine's initial one. */
function namespaceName(): string | undefined {
  const own = identityOf('/proc/self/ns/net')
  // Root in a container may be unable to read the namespace of process 1, which is rarely a named one.
  if (own === undefined || own === identityOf('/proc/1/ns/net')) return undefined
  try {
    return readdirSync(NAMED).find((name) => identityOf(`${NAMED}/${name}`) === own)
  } catch {
    return undefined // no namespace was ever named
  }
}

/** `undefined` if the file does not exist or this process may not access it. */
function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path)
    return `${dev} ${ino}`
  } catch {
    return undefined
  }
}
