/**
 * The output of `xsknetd lab`: a diagram of the lab and commands to try in it, as they are run with this installation.
 *
 * @module
 */
import { existsSync, realpathSync } from 'node:fs'
import { socketOf } from '../configuration/configuration.js'
import type { Lab, LabMachine } from '../platform/lab.js'
import { shellQuoted } from '../runtime/shell.js'
import { isSingleExecutable } from '../runtime/single-executable.js'

/** The name of the lab unless `--name` is given. */
export const DEFAULT_LAB = 'lab'

/** Shell commands of an installation. */
export interface Installation {
  readonly xsknetd: string
  /** Starts the first example; `undefined` if it is not installed. */
  readonly example: string | undefined
}

/** This installation: an npm package, a clone, or the single executable. */
export function thisInstallation(): Installation {
  const script = process.argv[1]
  if (isSingleExecutable() || script === undefined)
    return { xsknetd: shellQuoted(process.execPath), example: undefined }

  // npm installs an executable link.
  const xsknetd = script.endsWith('.js')
    ? `${shellQuoted(process.execPath)} ${shellQuoted(script)}`
    : shellQuoted(script)
  const [, above] = /^(.*)\/xsknetd\/dist\/[^/]+$/.exec(realpathSync(script)) ?? []
  if (above === undefined) return { xsknetd, example: undefined }
  const carried = `${above}/xsknet/examples/ping.ts`
  // Node does not run TypeScript inside node_modules.
  const [project = '', inside] = carried.split(/\/(?=node_modules\/)(.*)/s)
  if (inside && existsSync(carried)) {
    return { xsknetd, example: `cd ${shellQuoted(project || '/')} && cp ${shellQuoted(inside)} . && node ping.ts` }
  }
  const cloned = `${above}/../examples/ping.ts`
  return { xsknetd, example: existsSync(cloned) ? `node ${shellQuoted(realpathSync(cloned))}` : undefined }
}

const RAISED: Record<Lab['raised'], string> = {
  built: 'was built',
  rebuilt: 'was incomplete and has been rebuilt',
  stood: 'already exists',
}

/** A description of the lab, and commands to try in it. */
export function labReport({ name, raised, host, remote, ports }: Lab, { xsknetd, example }: Installation): string {
  const isDefault = name === DEFAULT_LAB
  const at = ({ namespace }: LabMachine, command: string) => `nsenter --net=${namespace} -- ${command}`
  const daemon = isDefault ? '' : ` --instance ${name}`
  const client = isDefault ? '' : `export XSKNET_SOCKET=${socketOf(name)}; `
  const bare = (address = '') => address.replace(/\/.*/, '')
  const [v4, v6] = (ports[0] ?? []).map(bare)

  return `The lab \`${name}\` ${RAISED[raised]}: two network namespaces, connected by a veth pair.

${diagram(host, remote)}

Ports can have the addresses ${between(ports, 0)} and ${between(ports, 1)}. Try, as root, each
of the first three commands in a terminal of its own:

  Start the daemon:
    ${at(host, `${xsknetd} run --uplink ${host.device}${daemon}`)}

  Start a program that answers ping, with Node 22.18 or later${example ? '' : ' (in the npm package `xsknet`)'}:
    ${client}${example ?? 'node ping.ts'}

  Capture packets at the remote end:
    ${at(remote, `tcpdump -n -l -i ${remote.device}`)}

  Ping from the remote end:
    ${at(remote, `ping -c 3 ${v4}`)}
    ${at(remote, `ping -c 3 ${v6}`)}

  Show where the frames went:
    ${xsknetd} stats${daemon}

  Remove the lab, after stopping the daemon and the program (Ctrl-C):
    ${xsknetd} lab --down${isDefault ? '' : ` --name ${name}`}`
}

function diagram(host: LabMachine, remote: LabMachine): string {
  const drawn = ({ namespace, device, addresses }: LabMachine) => [
    namespace.replace(/.*\//, ''),
    ...addresses.map((address, row) => `  ${(row === 0 ? device : '').padEnd(device.length + 2)}${address}`),
  ]
  const left = drawn(remote)
  const right = drawn(host)
  const width = Math.max(...left.map(({ length }) => length)) + 2
  const cable = ['', '--- cable ---']
  return left.map((text, row) => `  ${text.padEnd(width)}${(cable[row] ?? '').padEnd(16)}${right[row]}`).join('\n')
}

function between(ports: Lab['ports'], kind: number): string {
  const all = ports.flatMap((addresses) => addresses[kind] ?? [])
  return `${all[0]?.replace(/\/.*/, '')} to ${all.at(-1)}`
}

/** @param removed The paths of the lab's namespaces. */
export function removedReport(name: string, removed: readonly string[]): string {
  if (removed.length === 0) return `There is no lab \`${name}\`.`
  return `The lab \`${name}\` was removed: ${removed.join(', ')}, with all devices in them.`
}
