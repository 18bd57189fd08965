import { thousands } from './report.js'
import { losses, type Statistics, sum } from './statistics.js'

/** The table of hops: frames that reached each hop, their rate, where they went, and the losses by reason. */
export class Hops {
  readonly #began = performance.now()
  #last: { at: number; seen: Map<string, number> }

  constructor(statistics: Statistics) {
    this.#last = { at: this.#began, seen: new Map(rows(statistics).map(({ hop, seen }) => [hop, seen])) }
  }

  /** `aside` stands beside the moment that the table is of. */
  print(statistics: Statistics, aside: string): void {
    const at = performance.now()
    const seconds = (at - this.#last.at) / 1000
    const all = rows(statistics)
    console.log(`\n  after ${Math.round((at - this.#began) / 1000)} s, ${aside}`)
    print('hop', 'frames', 'per second', 'onward', 'lost')
    for (const { hop, seen, onward, lost } of all) {
      print(hop, thousands(seen), thousands((seen - (this.#last.seen.get(hop) ?? 0)) / seconds), onward, lost || '-')
    }
    this.#last = { at, seen: new Map(all.map(({ hop, seen }) => [hop, seen])) }
  }
}

function print(hop: string, frames: string, rate: string, onward: string, lost: string) {
  console.log(`    ${hop.padEnd(20)}${frames.padStart(12)}${rate.padStart(12)}   ${onward.padEnd(42)}${lost}`)
}

interface Row {
  hop: string
  seen: number
  onward: string
  lost: string
}

function rows({ uplinks, ports }: Statistics): Row[] {
  return uplinks.flatMap(({ uplink, statistics }) => {
    const { program, transmitDrops, refusedRedirects } = statistics
    const own = ports.filter((port) => port.uplink === uplink)
    return [
      {
        hop: `wire -> ${uplink}`,
        seen: program.seen,
        onward: `${thousands(program.toPort)} to ports, ${thousands(program.passed)} to the host`,
        lost: losses(program, { 'redirect refused': refusedRedirects ?? 0 }),
      },
      ...own.flatMap(({ name, statistics: { guard, program, rings, socket, ...pair } }) => [
        {
          hop: `${uplink} -> ${name}`,
          seen: program.seen + (rings?.received ?? 0),
          onward: rings
            ? `${thousands(rings.received)} into its rings`
            : `${thousands(program.toSocket)} to its socket`,
          lost: losses(program, {
            'pair full': pair.outerTransmitDrops,
            ...(socket && { 'FILL empty or frame too long': socket.rxDropped, 'RX ring full': socket.rxRingFull }),
          }),
        },
        {
          hop: `${name} -> guard`,
          seen: guard.seen,
          onward: `${thousands(guard.toUplink)} to the uplink, ${thousands(guard.toPort)} to ports`,
          lost: losses(guard, { 'pair full': pair.innerTransmitDrops, 'redirect refused': pair.outerRefusedRedirects }),
        },
      ]),
      {
        hop: `${uplink} -> wire`,
        seen: sum(own.map(({ statistics }) => statistics.guard.toUplink)),
        onward: '',
        lost: losses({ dropped: {} }, { 'uplink full': transmitDrops ?? 0 }),
      },
    ]
  })
}
