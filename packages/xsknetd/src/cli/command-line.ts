import { type ParseArgsConfig, parseArgs } from 'node:util'
import { XsknetError } from 'xsknet'
import { nearest } from 'xsknet/internal'
import { type Settings, socketOf } from '../configuration/configuration.js'
import { DEFAULT_LAB } from './lab.js'

/** What somebody wants of the executable. */
export type Command =
  | { command: 'help' | 'version' }
  | { command: 'run'; config: string | undefined; settings: Settings }
  | { command: 'lab'; name: string; down: boolean }
  | { command: 'status' | 'ports'; socket: string | undefined; json: boolean }
  | { command: 'stats'; socket: string | undefined; json: boolean; of: Subject | undefined }

/** What statistics are asked of: a port by its number, or a card or ports by their name. */
export type Subject = { port: number } | { name: string }

/** Every key that a file may have, for whoever has no documentation at hand. */
export const exampleConfiguration = `[daemon]                    # each counts less than the option of its name
uplinks = ["eth0"]
mode = "unspecified"
instance = "default"
socket = "/run/xsknet/default.sock"
log = "text"
memory = "8GiB"             # of all ports together; unless set, half of what is available

[[grant]]                   # one for each user, or group, and network
user = "nobody"             # or group = "netops"; or a number
uplinks = ["eth0"]
addresses = ["192.0.2.8/29", "2001:db8::10/124"]
vlans = ["untagged"]        # or numbers
ports = 1                   # the most of one user at once
queues = 1                  # the most of one port, 1 to 8
ringSize = 4096             # the most slots of each ring of a port
memory = "16MiB"            # the most of one user's ports at once
pinned = false              # may make the socket itself
innerTags = false           # may send VLAN tags within its own
routing = false             # may send what steers the traffic of others
busyPoll = false            # may have the kernel poll the card
hugePages = false           # may use the host's huge pages
rates = { broadcast = 1000, multicast = 1000, unknownUnicast = 1000 }  # frames a second, or "unlimited"
`

export const usage = `xsknetd owns network cards and hands out AF_XDP ports to programs without rights of their own.

  xsknetd run --uplink <card>… [options]    the daemon itself, as root, until SIGTERM or SIGINT;
                                            SIGHUP has it read the grants again
    --uplink <card>        a card to manage; once for each
    --mode <mode>          where programs run on it: unspecified (default), native, skb, hw
    --config <file.toml>   who may have what, and the settings here; what is given here counts more
    --instance <name>      apart from other daemons of this machine; default
    --socket <path>        where clients connect; /run/xsknet/<instance>.sock
    --log text|json        how its log is written to standard output; text

  xsknetd status [options]                  the daemon and its cards
  xsknetd ports [options]                   open ports: everybody's for root, else your own
  xsknetd stats [<port> | <card>] [options] where frames went, and where they were lost, hop by hop;
                                            a port by its number or its name
    --socket <path>        of the daemon; $XSKNET_SOCKET or /run/xsknet/default.sock
    --instance <name>      the same by the daemon's name
    --json                 for programs

  xsknetd lab [options]                     a place to try it all: two network namespaces with a wire between them, as root
    --name <name>          apart from other labs of this machine; lab
    --down                 removes it

  xsknetd --help | --version

A configuration (TOML). What is not set has the value shown, but for user, uplinks and addresses:

${exampleConfiguration.trimEnd().replace(/^(?=.)/gm, '  ')}

It ends with 0 when all went well, 1 when something failed, 2 when the command line or the configuration cannot be followed.`

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const
const anywhere = { help: { ...flag, short: 'h' }, version: flag } as const
const asking = { socket: text, instance: text, json: flag } as const
const optionsOf = {
  run: { uplink: { ...text, multiple: true }, mode: text, config: text, instance: text, socket: text, log: text },
  lab: { name: text, down: flag },
  status: asking,
  ports: asking,
  stats: asking,
} as const

/**
 * Reads the command line, without node and the script.
 *
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`.
 */
export function readCommandLine(words: readonly string[]): Command {
  const [name, ...rest] = words
  if (name === undefined || name === 'help') return { command: 'help' }
  if (name.startsWith('-')) {
    const { help, version } = parse(words, anywhere).values
    if (help || version) return { command: help ? 'help' : 'version' }
  }
  if (!Object.hasOwn(optionsOf, name))
    throw wrong(`there is no command \`${name}\`${meant(nearest(name, Object.keys(optionsOf)))}`)
  const command = name as keyof typeof optionsOf

  const { values, positionals } = parse(rest, { ...optionsOf[command], ...anywhere }, name)
  if (values.help || values.version) return { command: values.help ? 'help' : 'version' }
  const surplus = positionals[command === 'stats' ? 1 : 0]
  if (surplus !== undefined) throw wrong(`\`${surplus}\` is one word too many for \`${name}\``)

  if (command === 'run') {
    const { uplink, config, mode, instance, socket, log } = values as RunValues
    return { command, config, settings: { uplinks: uplink, mode, instance, socket, log } as Settings }
  }
  if (command === 'lab') {
    const { name = DEFAULT_LAB, down = false } = values as LabValues
    if (!/^[\w-]{1,32}$/.test(name))
      throw wrong(`\`${name}\` is no name for a lab: 1 to 32 letters, digits, \`-\` and \`_\``)
    return { command, name, down }
  }
  const { socket, instance, json = false } = values as AskingValues
  if (socket !== undefined && instance !== undefined) throw wrong('--socket and --instance both name a daemon')
  const asked = { socket: socket ?? (instance === undefined ? undefined : socketOf(instance)), json }
  if (command !== 'stats') return { command, ...asked }
  const [of] = positionals
  return {
    command,
    ...asked,
    of: of === undefined ? undefined : /^\d{1,10}$/.test(of) ? { port: Number(of) } : { name: of },
  }
}

/** The values are not checked here, but with those of the file. */
type RunValues = { uplink?: string[] } & { [K in 'config' | 'mode' | 'instance' | 'socket' | 'log']?: string }
type LabValues = { name?: string; down?: boolean }
type AskingValues = { socket?: string; instance?: string; json?: boolean }

function parse(args: readonly string[], options: NonNullable<ParseArgsConfig['options']>, command?: string) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    // Node's own words, without its advice for those who wrote the program.
    const [what = ''] = (error as Error).message.split(/[.\n]/)
    const [, stray] = /^Unknown option '--([^']*)'/.exec(what) ?? []
    const near = stray === undefined ? undefined : nearest(stray, Object.keys(options))
    const of = command ? ` for \`${command}\`` : ''
    throw wrong(`${what[0]?.toLowerCase()}${what.slice(1)}${of}${meant(near && `--${near}`)}`)
  }
}

function meant(name: string | undefined): string {
  return name === undefined ? '' : `; did you mean \`${name}\`?`
}

function wrong(message: string): XsknetError {
  return new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', message, {
    hint: '`xsknetd --help` lists all commands and options.',
  })
}
