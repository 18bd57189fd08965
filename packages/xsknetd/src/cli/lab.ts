/**
 * What `xsknetd lab` writes: a picture of the lab, and what to try in it, in the words of this very installation.
 *
 * @module
 */
import { existsSync, realpathSync } from 'node:fs'
import { socketOf } from '../configuration/configuration.js'
import { quoted } from '../runtime/shell.js'
import { isSea } from '../runtime/single-executable.js'

/** A machine of a lab, and its end of the wire. */
export interface LabMachine {
  /** The path of its network namespace. */
  readonly namespace: string
  readonly device: string
  /** IPv4 and IPv6, each with the length of its prefix. */
  readonly addresses: readonly string[]
}

/** A lab that stands. */
export interface Lab {
  readonly name: string
  readonly raised: 'built' | 'rebuilt' | 'stood'
  /** The machine with the card. */
  readonly host: LabMachine
  /** The machine at the wire's far end. */
  readonly remote: LabMachine
  /** Addresses that are kept for ports, an IPv4 and an IPv6 one each. */
  readonly ports: readonly (readonly string[])[]
}

/** The lab that is meant where none is named. */
export const DEFAULT_LAB = 'lab'

/** How somebody calls what is installed here, in words for a shell. */
export interface Installation {
  readonly xsknetd: string
  /** What starts the first example; `undefined` where none is installed. */
  readonly example: string | undefined
}

/** This installation: a package of npm's, a clone, or one executable. */
export function thisInstallation(): Installation {
  const script = process.argv[1]
  if (isSea() || script === undefined) return { xsknetd: quoted(process.execPath), example: undefined }

  // npm's link to it is an executable of its own.
  const xsknetd = script.endsWith('.js') ? `${quoted(process.execPath)} ${quoted(script)}` : quoted(script)
  const [, above] = /^(.*)\/xsknetd\/dist\/[^/]+$/.exec(realpathSync(script)) ?? []
  if (above === undefined) return { xsknetd, example: undefined }
  const carried = `${above}/xsknet/examples/ping.ts`
  // Node reads no TypeScript inside node_modules.
  const [project = '', inside] = carried.split(/\/(?=node_modules\/)(.*)/s)
  if (inside && existsSync(carried)) {
    return { xsknetd, example: `cd ${quoted(project || '/')} && cp ${quoted(inside)} . && node ping.ts` }
  }
  const cloned = `${above}/../examples/ping.ts`
  return { xsknetd, example: existsSync(cloned) ? `node ${quoted(realpathSync(cloned))}` : undefined }
}

const deeds = {
  built: 'is built',
  rebuilt: 'was not whole, and is built anew',
  stood: 'stands already',
}

/** The lab, and what to try in it. */
export function labReport({ name, raised, host, remote, ports }: Lab, { xsknetd, example }: Installation): string {
  const isDefault = name === DEFAULT_LAB
  const at = ({ namespace }: LabMachine, command: string) => `nsenter --net=${namespace} -- ${command}`
  const daemon = isDefault ? '' : ` --instance ${name}`
  const client = isDefault ? '' : `export XSKNET_SOCKET=${socketOf(name)}; `
  const bare = (address = '') => address.replace(/\/.*/, '')
  const [v4, v6] = (ports[0] ?? []).map(bare)

  return `The lab \`${name}\` ${deeds[raised]}: two network namespaces, and a wire between them that stands for a card and its network.

${picture(host, remote)}

Ports may have ${between(ports, 0)} and ${between(ports, 1)}. Try, as root, each
of the first three in a terminal of its own:

  the daemon, which takes the card:
    ${at(host, `${xsknetd} run --uplink ${host.device}${daemon}`)}

  a program that answers ping, with Node 22.18 or later${example ? '' : '; it is in the npm package `xsknet`'}:
    ${client}${example ?? 'node ping.ts'}

  what comes and goes at the wire's far end:
    ${at(remote, `tcpdump -n -l -i ${remote.device}`)}

  the ping, from the far end:
    ${at(remote, `ping -c 3 ${v4}`)}
    ${at(remote, `ping -c 3 ${v6}`)}

  where the frames went:
    ${xsknetd} stats${daemon}

  the end, once daemon and program have ended (Ctrl-C):
    ${xsknetd} lab --down${isDefault ? '' : ` --name ${name}`}`
}

function picture(host: LabMachine, remote: LabMachine): string {
  const drawn = ({ namespace, device, addresses }: LabMachine) => [
    namespace.replace(/.*\//, ''),
    ...addresses.map((address, row) => `  ${(row === 0 ? device : '').padEnd(device.length + 2)}${address}`),
  ]
  const left = drawn(remote)
  const right = drawn(host)
  const width = Math.max(...left.map(({ length }) => length)) + 2
  const wire = ['', '---- wire ----']
  return left.map((text, row) => `  ${text.padEnd(width)}${(wire[row] ?? '').padEnd(16)}${right[row]}`).join('\n')
}

function between(ports: Lab['ports'], kind: number): string {
  const all = ports.flatMap((addresses) => addresses[kind] ?? [])
  return `${all[0]?.replace(/\/.*/, '')} to ${all.at(-1)}`
}

/** What is gone, after its paths. */
export function removedReport(name: string, removed: readonly string[]): string {
  if (removed.length === 0) return `There is no lab \`${name}\`.`
  return `The lab \`${name}\` is gone: ${removed.join(', ')}, with all that was in there.`
}
