import { type ParseArgsConfig, parseArgs } from 'node:util'
import { XsknetError } from 'xsknet'
import { nearest } from 'xsknet/internal'
import { socketOf } from '../configuration/configuration.js'
import type { DaemonSettings } from '../configuration/daemon-settings.js'
import { NAME, NAME_RULE } from '../configuration/rules.js'
import type { Origin } from './explain.js'
import { DEFAULT_LAB } from './lab-report.js'

/** A parsed command line. */
export type Command =
  | { command: 'help' | 'version' }
  | { command: 'run'; config: string | undefined; settings: DaemonSettings }
  | { command: 'lab'; name: string; down: boolean }
  | { command: 'status' | 'ports'; socket: string | undefined; json: boolean }
  | { command: 'explain'; socket: string | undefined; json: boolean; packet: string; origin: Origin }
  | { command: 'stats'; socket: string | undefined; json: boolean; target: StatisticsTarget | undefined }

/** What to show statistics of: a port by number, or an uplink or ports by name. */
export type StatisticsTarget = { port: number } | { name: string }

const text = { type: 'string' } as const
const flag = { type: 'boolean' } as const
const general = { help: { ...flag, short: 'h' }, version: flag } as const
const query = { socket: text, instance: text, json: flag } as const
const optionsOf = {
  run: { uplink: { ...text, multiple: true }, mode: text, config: text, instance: text, socket: text, log: text },
  lab: { name: text, down: flag },
  status: query,
  ports: query,
  stats: query,
  explain: { ...query, uplink: text, port: text },
} as const

/**
 * Parses the command line.
 *
 * @param words The arguments after `node` and the script.
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`.
 */
export function readCommandLine(words: readonly string[]): Command {
  const [name, ...rest] = words
  if (name === undefined || name === 'help') return { command: 'help' }
  if (name.startsWith('-')) {
    const { help, version } = parse(words, general).values
    if (help || version) return { command: help ? 'help' : 'version' }
  }
  if (!Object.hasOwn(optionsOf, name))
    throw invalid(`unknown command \`${name}\`${meant(nearest(name, Object.keys(optionsOf)))}`)
  const command = name as keyof typeof optionsOf

  const { values, positionals } = parse(rest, { ...optionsOf[command], ...general }, name)
  if (values.help || values.version) return { command: values.help ? 'help' : 'version' }
  const surplus = positionals[command === 'stats' || command === 'explain' ? 1 : 0]
  if (surplus !== undefined) throw invalid(`unexpected argument \`${surplus}\` for \`${name}\``)

  if (command === 'run') {
    const { uplink, config, mode, instance, socket, log } = values as RunValues
    return { command, config, settings: { uplinks: uplink, mode, instance, socket, log } as DaemonSettings }
  }
  if (command === 'lab') {
    const { name = DEFAULT_LAB, down = false } = values as LabValues
    if (!NAME.test(name)) throw invalid(`invalid lab name \`${name}\`: it must be ${NAME_RULE}`)
    return { command, name, down }
  }
  const { socket, instance, json = false } = values as QueryValues
  if (socket !== undefined && instance !== undefined) throw invalid('--socket and --instance cannot be used together')
  const daemon = { socket: socket ?? (instance === undefined ? undefined : socketOf(instance)), json }
  if (command === 'explain') {
    const { uplink, port } = values as ExplainValues
    const [packet] = positionals
    if (packet === undefined) throw invalid('`explain` needs a packet in hexadecimal digits, or a pcap or pcapng file')
    if (uplink !== undefined && port !== undefined) throw invalid('--uplink and --port cannot be used together')
    const origin = uplink !== undefined ? { uplink } : port !== undefined ? { port } : undefined
    return { command, ...daemon, packet, origin }
  }
  if (command !== 'stats') return { command, ...daemon }
  return { command, ...daemon, target: targetOf(positionals[0]) }
}

function targetOf(word: string | undefined): StatisticsTarget | undefined {
  if (word === undefined) return undefined
  return /^\d{1,10}$/.test(word) ? { port: Number(word) } : { name: word }
}

/** The values are validated later, together with those of the file. */
type RunValues = { uplink?: string[] } & { [K in 'config' | 'mode' | 'instance' | 'socket' | 'log']?: string }
type LabValues = { name?: string; down?: boolean }
type ExplainValues = { uplink?: string; port?: string }
type QueryValues = { socket?: string; instance?: string; json?: boolean }

function parse(args: readonly string[], options: NonNullable<ParseArgsConfig['options']>, command?: string) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    // Node's message, without its advice for the program's author.
    const [what = ''] = (error as Error).message.split(/[.\n]/)
    const [, stray] = /^Unknown option '--([^']*)'/.exec(what) ?? []
    const near = stray === undefined ? undefined : nearest(stray, Object.keys(options))
    const of = command ? ` for \`${command}\`` : ''
    throw invalid(`${what[0]?.toLowerCase()}${what.slice(1)}${of}${meant(near && `--${near}`)}`)
  }
}

function meant(name: string | undefined): string {
  return name === undefined ? '' : `; did you mean \`${name}\`?`
}

function invalid(message: string): XsknetError {
  return new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', message, {
    hint: '`xsknetd --help` lists all commands and options.',
  })
}
