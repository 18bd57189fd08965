// What a packet costs beside the kernel: the same parse and recycle over rings in plain memory, which a thread keeps
// full.
import { Conversation } from '../../__test__/helpers/conversation.js'
import { root } from '../../__test__/helpers/workspace.js'
import type { Family, Reading } from '../comparison.js'
import { instructionsPerPacket } from '../costs.js'
import { afresh, datagramOf, type Fresh, GENERATOR, MEASURED, PORT, pin, RING_SIZE, turn, xskpeer } from '../place.js'
import type { Order, Result } from '../programs/watch.js'
import { built } from '../programs.js'
import type { Undo } from '../undo.js'
import { instructionsLine, whole } from './frames.js'

/** Bytes of a frame: those of a flood. */
const LENGTH = 82
/** Frames of a lap, in bench/programs/headroom.ts and bench/peer/headroom.c. */
const LAP = 1024
const [FROM, TO] = [
  { mac: '02:00:00:00:00:01', address: '192.0.2.2' },
  { mac: '02:00:00:00:00:02', address: '192.0.2.10' },
]

export const headroom: Family = {
  rows: [{ name: 'headroom', unit: 'ns/packet', better: 'less' }],
  async prepare({ undo, seconds, ringSize }) {
    const packet = Buffer.from(datagramOf(FROM.mac, FROM.address, TO.mac, TO.address, LENGTH)).toString('hex')
    const ours = async () => {
      const side = start(undo, [
        ...[process.execPath, '--import=@oxc-node/core/register', 'bench/programs/headroom.ts'],
        ...[`${built}/loopback.node`, `${root}packages`],
      ])
      // The thread that plays the kernel starts where the other core is.
      pin(side.program.pid, GENERATOR)
      await side.ask({ do: 'open', packet, slots: ringSize ?? RING_SIZE })
      pin(side.program.pid, MEASURED)
      return side
    }
    const peer = async () => {
      const side = start(undo, [xskpeer(ringSize), 'memory'])
      await side.event('open')
      pin(side.program.pid, MEASURED)
      return side
    }
    const order: Order = { port: PORT, length: LENGTH, header: packet.slice(0, 84) }
    const run = async (side: Conversation, amount: Order) => {
      const result = await side.ask<Result>({ do: 'headroom', ...order, ...amount })
      whole('headroom', result)
      return result
    }
    const read = async (side: Conversation, seconds: number): Promise<Reading> => {
      const result = await run(side, { seconds })
      const { frames, calls, empty } = result
      return {
        figures: { headroom: (result.seconds / frames) * 1e9 },
        aside: { 'looks that found nothing': empty / calls },
      }
    }
    return {
      ours: () => turn(ours, seconds, read),
      peer: () => turn(peer, seconds, read),
      afterwards: async () => {
        const told: string[] = []
        for (const [name, side] of Object.entries({ ours, peer })) {
          const counted = await afresh(side, (side) =>
            instructionsPerPacket(side.program.pid, (order) => run(side, order), LAP),
          )
          told.push(`${name}: ${instructionsLine(counted)}`)
        }
        return told
      },
    }
  },
}

function start(undo: Undo, command: string[]): Conversation & Fresh {
  const conversation = new Conversation(command, { cwd: root })
  undo.teardown(async () => {
    if (conversation.program.running) await conversation.program.kill()
  })
  return Object.assign(conversation, { end: () => conversation.program.kill() })
}
