import { existsSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import type { PortInfo, PortStats } from 'xsknet'
import { Client } from '../helpers/client.js'
import { CARD, portPrefixes } from '../helpers/lab.js'
import { Program, waitUntil } from '../helpers/program.js'
import type { Numbers } from '../helpers/programs/numbered.js'
import type { Level } from '../helpers/programs/numbers.js'
import { Scene } from '../helpers/scene.js'

// How often a client enters the kernel while it is never short of frames: its RX ring is full before it begins to read.

const RING = 2048
const ROUNDS = 20
const STRACE = '/usr/bin/strace'

interface Round {
  frames: number
  kicks: number
  /** Those of `kicks` that the kernel made necessary: it had broken the one before off. */
  kickRetries: number
  fillKicks: number
  /** Of the event loop, each of which asks the kernel for events. */
  turns: number
}

class Full {
  readonly #scene: Scene
  readonly #client: Client
  readonly #info: PortInfo

  private constructor(scene: Scene, client: Client, info: PortInfo) {
    this.#scene = scene
    this.#client = client
    this.#info = info
  }

  static async open(scene: Scene): Promise<Full> {
    const client = Client.start(scene.lab, '__test__/helpers/programs/numbers.ts', { socket: scene.daemon.socket })
    const info = await client.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(0), ringSize: RING })
    return new Full(scene, client, info)
  }

  get pid(): number {
    return this.#client.program.pid
  }

  stats(): Promise<PortStats> {
    return this.#client.ask({ do: 'stats' })
  }

  /** Fills RX while nobody reads, then has it read, or sent back. */
  async round(back: boolean, level: Level, meanwhile = async (read: () => Promise<void>) => read()): Promise<Round> {
    const target = { mac: this.#info.mac, address: this.#info.addresses[0] as string, port: 9 }
    const began = await this.stats()
    const offered = (stats: PortStats) => (stats.daemon?.program.seen ?? 0) - (began.daemon?.program.seen ?? 0)
    // Less than there is room for, and slow enough for the kernel, so that all of it is there to be read.
    await this.#scene.lab.flood(target, { frames: RING - 64, rate: 400_000 }).done
    await waitUntil('offered', async () => offered(await this.stats()) >= RING - 64)
    const before = (await this.stats()).client
    let read: (Numbers & { turns: number }) | undefined
    await meanwhile(async () => {
      read = await this.#client.ask({ do: 'readSome', frames: RING - 64, back, level })
    })
    if (!read) throw new Error('nothing was read')
    await waitUntil('sent', async () => (await this.stats()).chunks.tx === 0)
    const { kicks, kickRetries, fillKicks } = (await this.stats()).client
    return {
      frames: read.distinct,
      turns: read.turns,
      kicks: kicks - before.kicks,
      kickRetries: kickRetries - before.kickRetries,
      fillKicks: fillKicks - before.fillKicks,
    }
  }
}

async function rounds(t: ExecutionContext, full: Full, back: boolean, level: Level): Promise<Round> {
  const total: Round = { frames: 0, kicks: 0, kickRetries: 0, fillKicks: 0, turns: 0 }
  for (let n = 0; n < ROUNDS; n++) {
    const round = await full.round(back, level)
    for (const what of Object.keys(total) as (keyof Round)[]) total[what] += round[what]
  }
  const { frames, kicks, kickRetries, fillKicks, turns } = total
  t.log(
    `${back ? 'sent back' : 'read'}: ${frames} frames, ${kicks} kicks (${kickRetries} ` +
      `again), ${fillKicks} of FILL, ${turns} turns of the loop`,
  )
  t.true(frames > (ROUNDS * RING) / 2, `${frames} frames are too few`)
  return total
}

/** System calls that its first thread makes meanwhile, by name. */
async function traced(pid: number, during: () => Promise<void>): Promise<Record<string, number>> {
  const strace = new Program([STRACE, '-c', '-p', `${pid}`])
  await strace.waitFor(/attached/)
  await during()
  await strace.stop('SIGINT')
  const rows = strace.lines.map((line) => /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$/.exec(line))
  return Object.fromEntries(rows.flatMap((row) => (row && row[2] !== 'total' ? [[row[2], Number(row[1])]] : [])))
}

for (const level of ['batches', 'descriptors'] as const)
  test.serial(
    `${level}: a client that is never short of frames enters the kernel once ` +
      'for 128 sent, and not at all for those received',
    async (t) => {
      const scene = await Scene.open(t)
      const full = await Full.open(scene)
      const read = await rounds(t, full, false, level)
      t.deepEqual([read.kicks, read.fillKicks], [0, 0])
      // The loop turns about once a millisecond, so that others get their turn.
      t.true(read.turns < read.frames / 128, `${read.turns} turns`)
      const back = await rounds(t, full, true, level)
      t.is(back.fillKicks, 0)
      // What is left leaves at the end of each round.
      t.true(back.kicks <= back.frames / 128 + ROUNDS, `${back.kicks} kicks`)

      if (existsSync(STRACE)) {
        for (const sent of [false, true]) {
          let calls: Record<string, number> = {}
          const round = await full.round(sent, level, async (act) => {
            calls = await traced(full.pid, act)
          })
          t.log(`${round.frames} ${sent ? 'sent back' : 'read'} in ${round.turns} turns: ${JSON.stringify(calls)}`)
          t.true((calls.sendto ?? 0) <= (sent ? round.frames / 128 + 1 : 0), JSON.stringify(calls))
          t.deepEqual([calls.recvfrom ?? 0, calls.recvmsg ?? 0, calls.poll ?? 0, calls.ppoll ?? 0], [0, 0, 0, 0])
        }
      } else t.log('there is no strace here to say the same')
      await scene.end(t)
    },
  )
