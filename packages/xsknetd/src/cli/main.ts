import { writeSync } from 'node:fs'
import { connect, type Network, XsknetError } from 'xsknet'
import { nearest } from 'xsknet/internal'
import { PROTOCOL_VERSION } from 'xsknet/protocol'
import { readConfiguration } from '../configuration/configuration.js'
import { type Daemon, launch } from '../daemon/daemon.js'
import { errorFields, lineLog } from '../log/log.js'
import { bpfObjects, labs } from '../platform/native.js'
import { inspectorUrl, refuseInspector, restartWithoutNodeVariables } from '../platform/process-hardening.js'
import { version } from '../runtime/version.js'
import { type Command, readCommandLine, type StatisticsTarget } from './command-line.js'
import { type ExplainedPacket, explainedReport, explainFile, explainPacket, packetOf } from './explain.js'
import { usage } from './help.js'
import { labReport, removedReport, thisInstallation } from './lab-report.js'
import { hasTerminal, reloader } from './reloader.js'
import { portsReport, type Statistics, statisticsReport, statusReport, type Version, versionReport } from './report.js'

/** Runs the command of the command line. For `run`, the process stays as the daemon. */
export async function main(): Promise<void> {
  await runCommand().catch(fail)
}

async function runCommand(): Promise<void> {
  // A closed pipe is not a failure: `xsknetd ports | head`, or a daemon whose log reader has exited.
  process.stdout.on('error', () => {})
  const command = readCommandLine(process.argv.slice(2))
  switch (command.command) {
    case 'help':
      return print(usage)
    case 'version':
      return print(
        versionReport({ version, protocol: PROTOCOL_VERSION, node: process.versions.node, objects: embeddedObjects() }),
      )
    case 'run':
      return run(command)
    case 'lab':
      return lab(command)
    case 'status':
      return query(command, (network) => network.status(), statusReport)
    case 'ports':
      return query(command, (network) => network.ports(), portsReport)
    case 'explain':
      return explain(command)
    case 'stats':
      return query(command, (network) => statistics(network, command.target), statisticsReport)
  }
}

/** The version can be shown on a machine for which there is no binding. */
function embeddedObjects(): Version['objects'] {
  try {
    return bpfObjects()
  } catch (error) {
    if (error instanceof XsknetError) return error
    throw error
  }
}

/** Runs the daemon until a signal ends it. */
async function run({ config, settings }: Extract<Command, { command: 'run' }>): Promise<void> {
  refuseInspector()
  restartWithoutNodeVariables()
  const configuration = readConfiguration(settings, config)
  requireRoot('the daemon', 'Start it with sudo or as a service. Programs that only use its ports need no privileges.')
  const log = lineLog(configuration.log, (line) => process.stdout.write(line))

  const starting = launch(configuration, log)
  let ending: Promise<void> | undefined
  const end = (status: number) => {
    ending ??= starting.then((daemon) => quit(daemon, status))
    ending.catch(fail)
  }
  // The handlers stay, so that a second signal does not interrupt what the first one started.
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
    // If the terminal was closed, the daemon cannot be stopped from it any more.
    if (hadTerminal && !hasTerminal()) end(0)
    else if (!ending) void reload()
  })
  process.on('SIGUSR1', () => log('signal-ignored', { signal: 'SIGUSR1' }))
  process.on('uncaughtException', (error) => {
    log('uncaught', { ...errorFields(error), stack: error?.stack })
    end(1)
  })

  const quit = async (daemon: Daemon, status: number) => {
    await daemon.close()
    process.exit(status)
  }
  await starting
  // A SIGUSR1 that arrived before the handler was installed opens the inspector later.
  if (inspectorUrl() !== undefined) await starting.then((daemon) => daemon.close())
  refuseInspector()
}

async function lab({ name, down }: Extract<Command, { command: 'lab' }>): Promise<void> {
  requireRoot('a lab', 'It creates network namespaces and devices: run it with sudo.')
  if (down) print(removedReport(name, await labs.remove(name)))
  else print(labReport(await labs.raise(name), thisInstallation()))
}

function requireRoot(what: string, hint: string): void {
  const user = process.geteuid?.()
  if (user !== 0)
    throw new XsknetError('ERR_XSKNET_NOT_PERMITTED', `${what} needs root privileges; this is user ${user}`, { hint })
}

async function query<T>(
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

async function explain({ socket, json, packet, origin }: Extract<Command, { command: 'explain' }>): Promise<void> {
  const one = packetOf(packet)
  if (one) return query({ socket, json }, (network) => explainPacket(network, one, origin), String)
  const network = await connect({ socket })
  try {
    const all: ExplainedPacket[] = []
    for await (const explained of explainFile(network, packet, origin)) {
      if (json) all.push(explained)
      else print(explainedReport(explained))
    }
    if (json) print(JSON.stringify(all, undefined, 2))
  } finally {
    await network.close()
  }
}

async function statistics(network: Network, target: StatisticsTarget | undefined): Promise<Statistics> {
  const all = await network.ports()
  if (target && 'port' in target) {
    const { port } = target
    const statistics = await network.portStatistics(port)
    return { uplinks: [], ports: all.flatMap((entry) => (entry.port === port ? [{ ...entry, statistics }] : [])) }
  }
  const isMeant = (name: string) => target === undefined || target.name === name
  const interfaces = (await network.uplinks()).map(({ uplink }) => uplink)
  const uplinks: Statistics['uplinks'][number][] = []
  for (const uplink of interfaces.filter(isMeant))
    uplinks.push({ uplink, statistics: await network.uplinkStatistics(uplink) })
  const meant = all.filter(({ name }) => isMeant(name))
  if (target && uplinks.length === 0 && meant.length === 0)
    throw unknownName(target.name, [...interfaces, ...all.map(({ name }) => name)])
  const ports: Statistics['ports'][number][] = []
  for (const entry of meant) {
    try {
      ports.push({ ...entry, statistics: await network.portStatistics(entry.port) })
    } catch (error) {
      // It was closed after it was listed; its uplink's sums include it.
      if (!(error instanceof XsknetError) || error.code !== 'ERR_XSKNET_PORT_UNKNOWN') throw error
    }
  }
  return { uplinks, ports }
}

function unknownName(name: string, known: readonly string[]): XsknetError {
  const meant = nearest(name, known)
  const message = `\`${name}\` is not an uplink or an open port that you may query`
  return new XsknetError(
    'ERR_XSKNET_UPLINK_MISSING',
    meant === undefined ? message : `${message}; did you mean \`${meant}\`?`,
    {
      hint: '`xsknetd status` lists the uplinks, `xsknetd ports` the ports with their numbers and names.',
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
  if (cause instanceof Error) lines.push(`  cause: ${cause.message}`)
  if (hint) lines.push(...hint.split('\n').map((line, at) => (at === 0 ? `  hint: ${line}` : `    ${line}`)))
  if (code) lines.push(`  (${code})`)
  writeSync(2, `${lines.join('\n')}\n`)
  process.exit(code === 'ERR_XSKNET_CONFIGURATION_INVALID' ? 2 : 1)
}
