// What a side's result comes to: figures and what explains them.
import type { Reading } from '../comparison.js'
import { type Instructions, instructionsPerPacket, perPacket, systemCallsPerPacket } from '../costs.js'
import { afresh, type Side } from '../place.js'
import type { Order, Result } from '../programs/watch.js'

/** Frames per second, counted by the receiver. */
export function perSecond(name: string, frames: number, { seconds, processor, calls, empty }: Result): Reading {
  return {
    figures: { [name]: frames / seconds },
    aside: { 'cores used': processor / seconds, ...(calls > 0 && { 'looks that found nothing': empty / calls }) },
  }
}

/** Fails unless a side got frames, all of them those that were sent. */
export function whole(what: string, { frames, datagrams, corrupt }: Result): void {
  if (frames === 0) throw new Error(`${what}: no frame came`)
  if (datagrams !== frames || corrupt > 0)
    throw new Error(`${what}: of ${frames} frames ${datagrams} were datagrams, ${corrupt} altered`)
}

/** How each side is started. */
export type Sides<S extends Side = Side> = Record<'ours' | 'peer', () => Promise<S>>

/** Both sides see frames that are whole, by a loop that looks at every byte. */
export async function verified(
  name: string,
  sides: Sides,
  run: (side: Side, what: string, order: Order) => Promise<Result>,
) {
  for (const [which, start] of Object.entries(sides))
    whole(`${name}, ${which}`, await afresh(start, (side) => run(side, 'verify', { frames: 200_000 })))
}

/** Instructions and system calls a packet of both sides, each told in a line. */
export async function costs(sides: Sides, run: (side: Side, order: Order) => Promise<Result>): Promise<string[]> {
  const told: string[] = []
  for (const [name, start] of Object.entries(sides)) {
    await afresh(start, async (side) => {
      const instructions = await instructionsPerPacket(side.pid, (order) => run(side, order))
      const calls = await systemCallsPerPacket(side.pid, () => run(side, { frames: 500_000 }))
      told.push(
        `${name}: ${instructionsLine(instructions)}; system calls a packet: ` +
          `${perPacket(calls.all)} (${calls.names || 'none'})`,
      )
    })
  }
  return told
}

export const instructionsLine = ({ user, kernel }: Instructions) =>
  `instructions a packet: ${Number.isNaN(user) ? 'not counted in time' : user.toFixed(1)} in ` +
  `user space, ${kernel?.toFixed(0) ?? 'unknown'} in the kernel`
