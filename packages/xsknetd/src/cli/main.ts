import { writeSync } from 'node:fs'
import { connect, type Network, XsknetError } from 'xsknet'
import { nearest } from 'xsknet/internal'
import { PROTOCOL_VERSION } from 'xsknet/protocol'
import { readConfiguration } from '../configuration/configuration.js'
import { type Daemon, launch } from '../daemon/daemon.js'
import { lineLog } from '../log/log.js'
import { bpfObjects, labs } from '../platform/native.js'
import { inspectorUrl, leaveEnvironment, mustNotBeInspected } from '../platform/process-hardening.js'
import { reasonOf } from '../ports/port-manager.js'
import { version } from '../runtime/version.js'
import { type Command, readCommandLine, type Subject, usage } from './command-line.js'
import { labReport, removedReport, thisInstallation } from './lab.js'
import { hasTerminal, reloader } from './reloader.js'
import { portsReport, type Statistics, statisticsReport, statusReport, type Version, versionReport } from './report.js'

/** What the command line wants; the process ends with it, or stays as the daemon. */
export async function main(): Promise<void> {
  await obey().catch(fail)
}

async function obey(): Promise<void> {
  // Whoever reads may stop: `xsknetd ports | head` is no failure, and a daemon outlives the reader of its log.
  process.stdout.on('error', () => {})
  const command = readCommandLine(process.argv.slice(2))
  switch (command.command) {
    case 'help':
      return print(usage)
    case 'version':
      return print(
        versionReport({ version, protocol: PROTOCOL_VERSION, node: process.versions.node, objects: objectsAtHand() }),
      )
    case 'run':
      return run(command)
    case 'lab':
      return lab(command)
    case 'status':
      return ask(command, (network) => network.status(), statusReport)
    case 'ports':
      return ask(command, (network) => network.ports(), portsReport)
    case 'stats':
      return ask(command, (network) => statistics(network, command.of), statisticsReport)
  }
}

/** Somebody may ask on a machine that no binding is made for. */
function objectsAtHand(): Version['objects'] {
  try {
    return bpfObjects()
  } catch (error) {
    if (error instanceof XsknetError) return error
    throw error
  }
}

/** Stays until a signal ends it. */
async function run({ config, settings }: Extract<Command, { command: 'run' }>): Promise<void> {
  mustNotBeInspected()
  leaveEnvironment()
  const configuration = readConfiguration(settings, config)
  mustBeRoot('the daemon', 'Start it with sudo or as a service. Programs that only use its ports need no rights.')
  const log = lineLog(configuration.log, (line) => process.stdout.write(line))

  const starting = launch(configuration, log)
  let ending: Promise<void> | undefined
  const end = (status: number) => {
    ending ??= starting.then((daemon) => quit(daemon, status))
    ending.catch(fail)
  }
  // A second signal finds the handler still there, so that it does not break off what the first began.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log('signal', { signal })
      end(0)
    })
  }
  const reload = reloader(
    starting,
    configuration,
    config === undefined ? undefined : () => readConfiguration(settings, config),
    log,
  )
  const hadTerminal = hasTerminal()
  process.on('SIGHUP', () => {
    log('signal', { signal: 'SIGHUP' })
    // Of a terminal that was closed, nobody is there any more who could end it.
    if (hadTerminal && !hasTerminal()) end(0)
    else if (!ending) void reload()
  })
  process.on('SIGUSR1', () => log('signal-ignored', { signal: 'SIGUSR1' }))
  process.on('uncaughtException', (error) => {
    log('uncaught', { ...reasonOf(error), stack: error?.stack })
    end(1)
  })

  const quit = async (daemon: Daemon, status: number) => {
    await daemon.close()
    process.exit(status)
  }
  await starting
  // A signal that came before anybody listened opens it late.
  if (inspectorUrl() !== undefined) await starting.then((daemon) => daemon.close())
  mustNotBeInspected()
}

async function lab({ name, down }: Extract<Command, { command: 'lab' }>): Promise<void> {
  mustBeRoot('a lab', 'It makes network namespaces and devices: call it with sudo.')
  if (down) print(removedReport(name, await labs.remove(name)))
  else print(labReport(await labs.raise(name), thisInstallation()))
}

function mustBeRoot(what: string, hint: string): void {
  const user = process.geteuid?.()
  if (user !== 0)
    throw new XsknetError('ERR_XSKNET_NOT_PERMITTED', `${what} needs root, this is user ${user}`, { hint })
}

async function ask<T>(
  { socket, json }: { socket: string | undefined; json: boolean },
  question: (network: Network) => Promise<T>,
  report: (answer: T) => string,
): Promise<void> {
  const network = await connect({ socket })
  try {
    const answer = await question(network)
    print(json ? JSON.stringify(answer, undefined, 2) : report(answer))
  } finally {
    await network.close()
  }
}

async function statistics(network: Network, of: Subject | undefined): Promise<Statistics> {
  const all = await network.ports()
  if (of && 'port' in of) {
    const statistics = await network.portStatistics(of.port)
    return { uplinks: [], ports: all.flatMap((entry) => (entry.port === of.port ? [{ ...entry, statistics }] : [])) }
  }
  const isAsked = (name: string) => of === undefined || of.name === name
  const cards = (await network.uplinks()).map(({ uplink }) => uplink)
  const uplinks: Statistics['uplinks'][number][] = []
  for (const uplink of cards.filter(isAsked))
    uplinks.push({ uplink, statistics: await network.uplinkStatistics(uplink) })
  const asked = all.filter(({ name }) => isAsked(name))
  if (of && uplinks.length === 0 && asked.length === 0)
    throw unknownName(of.name, [...cards, ...all.map(({ name }) => name)])
  const ports: Statistics['ports'][number][] = []
  for (const entry of asked) {
    try {
      ports.push({ ...entry, statistics: await network.portStatistics(entry.port) })
    } catch (error) {
      // Closed since it was listed; the uplink's sums have it.
      if (!(error instanceof XsknetError) || error.code !== 'ERR_XSKNET_PORT_UNKNOWN') throw error
    }
  }
  return { uplinks, ports }
}

function unknownName(name: string, known: readonly string[]): XsknetError {
  const meant = nearest(name, known)
  const message = `\`${name}\` is neither a card nor an open port that you may ask about`
  return new XsknetError(
    'ERR_XSKNET_UPLINK_MISSING',
    meant === undefined ? message : `${message}; did you mean \`${meant}\`?`,
    {
      hint: '`xsknetd status` lists the cards, `xsknetd ports` the ports with their numbers and names.',
      details: { name },
    },
  )
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function fail(error: unknown): never {
  const { code, message, hint, cause, stack } = error as Partial<XsknetError>
  const lines = [`xsknetd: ${code === undefined ? (stack ?? String(error)) : message}`]
  if (cause instanceof Error) lines.push(`  because: ${cause.message}`)
  if (hint) lines.push(...hint.split('\n').map((line, at) => (at === 0 ? `  hint: ${line}` : `    ${line}`)))
  if (code) lines.push(`  (${code})`)
  writeSync(2, `${lines.join('\n')}\n`)
  process.exit(code === 'ERR_XSKNET_CONFIGURATION_INVALID' ? 2 : 1)
}
