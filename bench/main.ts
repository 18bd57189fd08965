// npm run bench: how fast a client without any right receives, forwards, sends and answers, through the whole path of a lab.
// Every figure is of frames counted where they arrive. The machine must be idle: other work on its cores moves every number.
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import type { PortInfo } from 'xsknet'
import { Client } from '../__test__/helpers/client.js'
import { Daemon } from '../__test__/helpers/daemon.js'
import { CARD, Lab, type Owner, portPrefixes, REMOTE } from '../__test__/helpers/lab.js'

interface Reading {
  frames: number
  batches: number
}

/** A figure of each round. */
interface Row {
  name: string
  unit: string
  rounds: number[]
  aside: string
}

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '2' } } })
const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)]

/** Undoes what one measurement set up, the last first. */
class Undo implements Owner {
  readonly #steps: (() => Promise<void>)[] = []

  teardown(step: () => Promise<void>): void {
    this.#steps.unshift(step)
  }

  async now(): Promise<void> {
    for (const step of this.#steps.splice(0)) await step()
  }
}

const undo = new Undo()
try {
  console.log(`Node ${process.versions.node}, Linux ${release()}, ${cpus().length} cores: ${cpus()[0]?.model}`)
  console.log(`${rounds} rounds of ${seconds} s each; medians, lowest and highest round\n`)
  for (const mode of ['native', 'skb'] as const) {
    const lab = await Lab.create(undo)
    const daemon = await Daemon.start(lab, { mode })
    await lab.sink(9)
    for (const row of [
      await receiving(lab, daemon, 'drop', mode),
      await receiving(lab, daemon, 'forward', mode),
      await transmitting(lab, daemon),
      await answering(lab, daemon),
    ]) {
      print(mode, row)
    }
    await undo.now()
  }
} finally {
  await undo.now()
}

async function open(lab: Lab, daemon: Daemon): Promise<{ client: Client; info: PortInfo }> {
  const client = Client.start(lab, '__test__/helpers/programs/measure.ts', { socket: daemon.socket })
  return { client, info: await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(0) }) }
}

/** Frames of 82 bytes as fast as the far end sends them: read and given back, or sent back with their MACs swapped. */
async function receiving(lab: Lab, daemon: Daemon, treat: 'drop' | 'forward', mode: 'native' | 'skb'): Promise<Row> {
  const { client, info } = await open(lab, daemon)
  await client.ask({ do: treat })
  const to = { mac: info.mac, address: info.addresses[0] as string, port: 9 }
  const row: Row = { name: treat === 'drop' ? 'rxdrop' : 'l2fwd', unit: 'Mpps', rounds: [], aside: '' }
  const batches: number[] = []
  for (let round = 0; round < rounds; round++) {
    const flood = lab.flood(to, { seconds: seconds + 1, live: mode === 'native' })
    const moving = await moved(client)
    const came = async () => (treat === 'drop' ? (await client.ask<Reading>({ do: 'reading' })).frames : lab.framesFrom(info.mac))
    const before = { at: performance.now(), came: await came(), reading: moving }
    await new Promise((settle) => setTimeout(settle, seconds * 1000))
    const after = { at: performance.now(), came: await came(), reading: await client.ask<Reading>({ do: 'reading' }) }
    row.rounds.push((after.came - before.came) / (after.at - before.at) / 1000)
    batches.push((after.reading.frames - before.reading.frames) / Math.max(1, after.reading.batches - before.reading.batches))
    await flood.done
  }
  row.aside = `${median(batches).toFixed(1)} frames a batch`
  await client.stop('SIGKILL').catch(() => {})
  return row
}

/** Waits until frames arrive. */
async function moved(client: Client): Promise<Reading> {
  const first = await client.ask<Reading>({ do: 'reading' })
  for (;;) {
    const now = await client.ask<Reading>({ do: 'reading' })
    if (now.frames > first.frames) return now
  }
}

/** Frames of 64 bytes, counted at the far end. */
async function transmitting(lab: Lab, daemon: Daemon): Promise<Row> {
  const { client, info } = await open(lab, daemon)
  const row: Row = { name: 'txonly', unit: 'Mpps', rounds: [], aside: 'by trySend(), 64 bytes each' }
  for (let round = 0; round < rounds; round++) {
    const [at, before] = [performance.now(), await lab.framesFrom(info.mac)]
    await client.ask({ do: 'transmit', to: { mac: lab.farMac, address: REMOTE.v4, port: 9 }, seconds })
    row.rounds.push(((await lab.framesFrom(info.mac)) - before) / (performance.now() - at) / 1000)
  }
  await client.stop('SIGKILL').catch(() => {})
  return row
}

/** The answer program, one datagram on its way at a time: the far end's sender and counter included. */
async function answering(lab: Lab, daemon: Daemon): Promise<Row> {
  const [v4, v6] = portPrefixes(0)
  const client = Client.start(lab, 'examples/answer.ts', { socket: daemon.socket, args: [CARD, v4, v6] })
  await client.program.waitFor(/^answering/)
  const row: Row = { name: 'answer', unit: 'µs round trip', rounds: [], aside: 'mean of ping’s, kernel at the far end' }
  for (let round = 0; round < rounds; round++) {
    const address = v4.split('/')[0] as string
    const output = await lab.remote.output('ping', '-q', '-i', '0.001', '-c', '1000', address)
    row.rounds.push(Number(/= [\d.]+\/([\d.]+)\//.exec(output)?.[1]) * 1000)
  }
  await client.stop('SIGKILL').catch(() => {})
  return row
}

function print(mode: string, { name, unit, rounds, aside }: Row): void {
  const digits = unit === 'Mpps' ? 3 : 1
  const [low, middle, high] = [Math.min(...rounds), median(rounds), Math.max(...rounds)].map((value) => value.toFixed(digits))
  console.log(`${mode.padEnd(7)}${name.padEnd(8)}${middle?.padStart(8)} ${unit.padEnd(14)} ${low} to ${high}   ${aside}`)
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? Number.NaN
}
