// The demo: a daemon that manages an uplink, and unprivileged programs that answer on ports of it. Packets come from
// another namespace, go through the uplink's program, the DEVMAP, a port's queue pair and an AF_XDP socket into
// TypeScript, and back out of the uplink.
//
// `npm start -- --help` lists the options.
import { readlinkSync } from 'node:fs'
import type { Attempt, PortInfo, PortStats, UplinkInfo } from 'xsknet'
import { Client, rightsOf } from '../../__test__/helpers/client.js'
import { Daemon, GRANT, NOBODY } from '../../__test__/helpers/daemon.js'
import { CARD, FAR, HOST, Lab, portAddresses, portPrefixes, REMOTE } from '../../__test__/helpers/lab.js'
import { inside, type Program, run } from '../../__test__/helpers/program.js'
import { portSums, uplinkSums } from '../../__test__/helpers/sums.js'
import { Hops } from './hops.js'
import { type Options, readOptions, usage } from './options.js'
import { Report, thousands } from './report.js'
import type { Statistics } from './statistics.js'
import { pinged, portToPort, remoteAsks, remoteAsksHost, roundTrip, spoofing } from './talk.js'

/** Answer on a port each: by the rings of AF_XDP, and by BPF rings where they can be had. */
const ANSWERING = ['left', 'right'] as const
const RINGS = { left: 'xsk', right: 'auto' }
/** The third one asks and spoofs. */
const NAMES = [...ANSWERING, 'third']
const ECHO_PORT = 7
/** Milliseconds that frames may take to come to rest. */
const REST = 3000

const report = new Report()
const stop = new AbortController()
// Ctrl-C reaches us from the terminal and once more from npm: a flag does not count.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())

process.exitCode = await main()

async function main(): Promise<number> {
  let options: Options
  try {
    options = readOptions(process.argv.slice(2))
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  if (options.help) {
    console.log(usage)
    return 0
  }
  await demo(options)
  if (report.wrong > 0) console.log(`\n${report.wrong} of the above went wrong.`)
  return report.wrong > 0 ? 1 : 0
}

async function demo(options: Options): Promise<void> {
  const undo: (() => Promise<void>)[] = []
  const lab = await Lab.create({ teardown: (step) => void undo.push(step) })
  try {
    await lab.snapshot()
    await show(lab, options)

    report.heading('The machine')
    const differences = await lab.compare()
    const what = 'devices, addresses, offloads, filters, mounts, pins, programs, maps, links'
    report.tell(differences.length === 0, differences.length === 0 ? `is as before: ${what}` : 'is NOT as before:')
    for (const difference of differences) report.line(difference)
  } finally {
    for (const step of undo.reverse()) await step()
  }
}

async function show(lab: Lab, options: Options): Promise<void> {
  const config = `${GRANT}bpfRings = true\n`
  const daemon = await Daemon.start(lab, { config, ...(options.mode && { mode: options.mode }) })
  const answering = ANSWERING.map((name, n) => {
    const args = ['--rings', RINGS[name], CARD, ...portPrefixes(n)]
    return Client.start(lab, 'examples/answer.ts', { socket: daemon.socket, args })
  })
  for (const { program } of answering) await program.waitFor(/^answering/)
  const args = [CARD, ...portPrefixes(answering.length)]
  const third = Client.start(lab, '__test__/helpers/programs/talker.ts', { socket: daemon.socket, args })
  const { info } = await third.event<{ event: string; info: PortInfo }>('open')
  const clients = [...answering, third]
  const statistics = () => namedStatistics(daemon, clients)

  await introduce(lab, daemon, info, await statistics())
  report.heading('Privileges of the clients, by /proc')
  await showRights(clients, lab)

  const steps = [
    async () => {
      report.heading('Port to port, and what a port may not send')
      await portToPort(report, third, ANSWERING)
      await spoofing(report, third, info)
    },
    async () => {
      report.heading('Requests of real programs on the remote host')
      for (const [n, name] of ANSWERING.entries()) await remoteAsks(report, lab, name, n)
      await remoteAsksHost(report, lab)
    },
    async () => {
      for (const name of ANSWERING) {
        if (options.seconds > 0 && !stop.signal.aborted) await flood(lab, statistics, name, options.seconds)
      }
    },
    async () => {
      if (options.keep) await keep(lab, daemon)
    },
  ]
  for (const step of steps) if (!stop.signal.aborted) await step()

  report.heading('Every frame accounted for')
  await account(lab, statistics, answering, third)
  for (const { program } of answering) program.signal('SIGINT')
  await third.ask({ do: 'close' })
  for (const [n, { program }] of clients.entries()) await showEnd(`${NAMES[n]} ended by itself`, program)
  daemon.program.signal('SIGTERM')
  await showEnd('xsknetd ended on SIGTERM', daemon.program)
}

/** The ports of our clients, under the names that the demo gives them. */
async function namedStatistics(daemon: Daemon, clients: readonly Client[]): Promise<Statistics> {
  const { uplinks, ports } = await daemon.ask<Statistics>('stats')
  const nameOf = (pid: number) => NAMES[clients.findIndex(({ program }) => program.pid === pid)] ?? `process ${pid}`
  return { uplinks, ports: ports.map((port) => ({ ...port, name: nameOf(port.pid) })) }
}

async function introduce(lab: Lab, daemon: Daemon, third: PortInfo, { ports }: Statistics): Promise<void> {
  report.heading('The lab: two namespaces and a wire')
  report.line(`remote  ${FAR.padEnd(6)} ${REMOTE.v4}  ${REMOTE.v6}  ${lab.farMac}`)
  report.line(`host    ${CARD.padEnd(6)} ${HOST.v4}  ${HOST.v6}  ${lab.cardMac}`)

  report.heading(`The daemon: xsknetd, process ${daemon.program.pid}, listens on ${daemon.socket}`)
  const { uplinks } = await daemon.ask<{ uplinks: UplinkInfo[] }>('status')
  for (const { uplink, mode, mtu } of uplinks)
    report.line(`${uplink} runs the uplink program in ${mode} mode, MTU ${mtu}`)
  const { guardMode, portMode, bindMode, outer, inner } = third
  report.line(
    `guard ${guardMode} on ${outer}, port program ${portMode} on ${inner}, socket bound in ${bindMode} mode; ` +
      'others alike',
  )
  for (const { name, mac, addresses, statistics } of ports) {
    const rings = statistics.rings ? 'BPF rings' : 'AF_XDP'
    report.line(`port ${name.padEnd(6)} ${mac}  ${addresses.join('  ')}  ${rings}`)
  }
  report.line('attempts:')
  for (const step of [...uplinks.flatMap((uplink) => uplink.attempts), ...third.attempts])
    report.line(`  ${attemptLine(step)}`)
}

function attemptLine({ hook, step, code, why }: Attempt): string {
  return `${hook} ${step}: ${code === null ? '' : `${code}, `}${why}`
}

/** None of them could have made an AF_XDP socket, or even see the uplink. */
async function showRights(clients: readonly Client[], lab: Lab): Promise<void> {
  const others = [rightsOf('self').network, readlinkSync(lab.host.namespace), readlinkSync(lab.remote.namespace)]
  for (const [n, client] of clients.entries()) {
    const { uid, gid, groups, capabilities, noNewPrivs, network } = client.rights()
    const powerless = uid === NOBODY && gid === NOBODY && groups.length === 0 && noNewPrivs
    const held = Object.entries(capabilities).filter(([, set]) => set !== 0n)
    const { stdout } = await run(inside(`/proc/${client.program.pid}/ns/net`, ['ip', '-brief', 'link']))
    const devices = [...stdout.matchAll(/^\S+/gm)].join(', ')
    const alone = !others.includes(network) && devices === 'lo'
    const capable =
      held.length === 0 ? 'all five capability sets 0' : held.map(([name, set]) => `${name} ${set}`).join(' ')
    report.tell(
      powerless && held.length === 0 && alone,
      `${NAMES[n]?.padEnd(6)} uid ${uid}, gid ${gid}, ${groups.length} groups, ${capable}, ` +
        `NoNewPrivs ${Number(noNewPrivs)}, own ${network} with ${devices}`,
    )
  }
}

async function flood(
  lab: Lab,
  statistics: () => Promise<Statistics>,
  name: (typeof ANSWERING)[number],
  seconds: number,
): Promise<void> {
  const first = await statistics()
  const flooded = first.ports.find((port) => port.name === name)
  if (!flooded) throw new Error(`the daemon does not know the port of ${name}`)
  const kind = flooded.statistics.rings ? 'BPF rings' : 'AF_XDP'
  report.heading(`A flood of UDP to ${name} (${kind}), each datagram answered; at most 192 on their way at a time`)
  const at = ANSWERING.indexOf(name)
  const [beside = ''] = ANSWERING.filter((other) => other !== name)
  const pings = portAddresses(1 - at).map((to) => lab.remote.spawn('ping', '-i', '0.1', '-W', '1', to))
  const loop = lab.closedLoop({ mac: flooded.mac, address: portAddresses(at)[0], port: ECHO_PORT }, { seconds })
  const interrupt = () => void loop.stop().catch(() => {})
  stop.signal.addEventListener('abort', interrupt)

  const hops = new Hops(first)
  while ((await Promise.race([loop.done, pause(1000)])) === undefined) {
    const times = pings.map(roundTrip).filter(Boolean).join(', ')
    hops.print(await statistics(), `round trips meanwhile: ${times}`)
  }
  stop.signal.removeEventListener('abort', interrupt)
  const { sent, answered, repeated, corrupt, seconds: took } = await loop.done
  const rate = thousands(answered / took)
  console.log()
  report.tell(
    sent === answered && repeated + corrupt === 0,
    `${thousands(answered)} of ${thousands(sent)} answers came back in ${took.toFixed(1)} s: ` +
      `${rate} a second, each way`,
  )
  for (const [n, ping] of pings.entries()) {
    await ping.stop('SIGINT')
    const { asked, answered } = pinged(ping)
    report.tell(
      asked === answered,
      `remote -> ${beside.padEnd(6)} ${n === 0 ? 'ping' : 'ping -6'} meanwhile: ${answered} of ${asked}`,
    )
  }
}

/** Says how to try it by hand, and waits for the signal to end. */
async function keep(lab: Lab, daemon: Daemon): Promise<void> {
  report.heading('Kept running until Ctrl-C. In another terminal, as root:')
  const remote = `nsenter --net=${lab.remote.namespace}`
  const host = `nsenter --net=${lab.host.namespace}`
  const [v4, v6] = portAddresses(0)
  report.line(`${remote} ping ${v4}`)
  report.line(`${remote} dig @${v6} anything.example AAAA`)
  report.line(`${remote} tcpdump -nei ${FAR}          # sees both directions`)
  report.line(`${host} tcpdump -nei ${CARD}         # sees nothing of the ports: redirected frames pass it by`)
  report.line(`node packages/xsknetd/dist/cli.js stats --socket ${daemon.socket}`)
  while (!stop.signal.aborted) await pause(100)
}

/** Prints the sums, once they hold, and where each client's frames are. */
async function account(
  lab: Lab,
  statistics: () => Promise<Statistics>,
  answering: readonly Client[],
  third: Client,
): Promise<void> {
  const look = async () => {
    const clients: PortStats[] = []
    for (const { program } of answering) clients.push(await statsOf(program))
    clients.push(await third.ask<PortStats>({ do: 'stats' }))
    const { uplinks, ports } = await statistics()
    let far = 0
    for (const { mac } of ports) far += await lab.framesFrom(mac)
    const ofPorts = ports.map(({ statistics }) => statistics)
    const sums = [
      ...clients.flatMap((stats, n) => portSums(stats).map((sum) => ({ whose: NAMES[n] ?? '', ...sum }))),
      ...uplinks.flatMap(({ uplink, statistics }) =>
        uplinkSums(statistics, ofPorts, far).map((sum) => ({ whose: uplink, ...sum })),
      ),
    ]
    const chunkCounts = clients.map(({ chunks }, n) => ({
      name: NAMES[n] ?? '',
      chunks,
      idle: chunks.free + chunks.fill,
    }))
    const rest =
      sums.every(({ left, right }) => left === right) && chunkCounts.every(({ idle, chunks }) => idle === chunks.total)
    return { sums, chunkCounts, rest }
  }
  const deadline = performance.now() + REST
  let seen = await look()
  while (!seen.rest && performance.now() < deadline) seen = await look()

  for (const { whose, what, left, right } of seen.sums) {
    report.tell(
      left === right,
      `${whose.padEnd(6)} ${what.padEnd(22)} ${thousands(left).padStart(12)} = ${thousands(right)}`,
    )
  }
  for (const { name, chunks, idle } of seen.chunkCounts) {
    const where = `${chunks.free} free, ${chunks.fill} lent to reception`
    report.tell(idle === chunks.total, `${name.padEnd(6)} ${idle} of ${chunks.total} chunks idle: ${where}`)
  }
}

/** What `examples/answer.ts` prints when it is signalled. */
async function statsOf(program: Program): Promise<PortStats> {
  const already = program.lines.length
  program.signal('SIGUSR2')
  const line = await program.until('its statistics', 5000, () =>
    program.lines.slice(already).find((text) => text.startsWith('{')),
  )
  return JSON.parse(line) as PortStats
}

async function showEnd(what: string, program: Program): Promise<void> {
  const { code, signal } = await program.end()
  report.tell(code === 0, `${what}${code === 0 ? '' : ` with ${signal ?? code}:\n${program.lines.join('\n')}`}`)
}

function pause(milliseconds: number): Promise<undefined> {
  return new Promise((settle) => setTimeout(settle, milliseconds, undefined))
}
