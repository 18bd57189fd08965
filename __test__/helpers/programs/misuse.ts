// What nobody should do with frames, under load: whatever it is, it is refused or counted, and no frame is lost for
// good.
import { setImmediate as turn } from 'node:timers/promises'
import type { Frame, KeptFrame, Port } from 'xsknet'
import type { Random } from './random.js'

/** What was tried, how often, and what came of it that should not. */
export interface Misused {
  tried: Record<string, number>
  faults: string[]
}

const LEASE_ENDED = 'ERR_XSKNET_LEASE_ENDED'

class Trials {
  readonly misused: Misused = { tried: {}, faults: [] }

  /** `expected`: the code of the error that must come, or none. */
  try(what: string, expected: string | undefined, deed: () => unknown): void {
    const { tried, faults } = this.misused
    tried[what] = (tried[what] ?? 0) + 1
    let code: string | undefined
    try {
      deed()
    } catch (error) {
      code = (error as { code?: string }).code ?? String(error)
    }
    if (code !== expected && faults.length < 10) faults.push(`${what}: ${code ?? 'no error'}`)
  }

  must(holds: boolean, what: string): void {
    if (!holds && this.misused.faults.length < 10) this.misused.faults.push(what)
  }
}

/**
 * Leases: frames are touched after they were sent, dropped, kept or forwarded, after their turn, and kept without end.
 */
export async function misuseBatches(
  port: Port,
  other: Port,
  closed: Port,
  random: Random,
  batches: number,
): Promise<Misused> {
  const trials = new Trials()
  const kept: KeptFrame[] = []
  let stale: Frame | undefined
  let refused = 0
  for await (const batch of port.batches()) {
    if (stale) {
      const old = stale
      for (const deed of [
        () => old.uint8(0),
        () => old.send(),
        () => old.keep(),
        () => old.forward(other),
        () => old.drop(),
      ])
        trials.try('a frame after its turn', LEASE_ENDED, deed)
    }
    for (const frame of batch) {
      const deed = random.below(8)
      if (deed === 0) {
        if (frame.send()) trials.try('sent twice', LEASE_ENDED, () => frame.send())
      } else if (deed === 1) {
        frame.drop()
        trials.try('sent after it was dropped', LEASE_ENDED, () => frame.send())
      } else if (deed === 2) {
        if (frame.forward(other)) trials.try('touched after it was forwarded', LEASE_ENDED, () => frame.setUint8(0, 1))
      } else if (deed === 3) {
        trials.try('forwarded to a closed port', 'ERR_XSKNET_PORT_CLOSED', () => frame.forward(closed))
        trials.must(frame.length > 0, 'a frame that could not be forwarded is gone')
      } else if (deed === 4) {
        trials.try('longer than its chunk', 'ERR_OUT_OF_RANGE', () => {
          frame.length = frame.capacity + 1
        })
      } else if (deed >= 6) {
        const one = frame.keep()
        if (one) {
          kept.push(one)
          trials.try('touched after it was kept', LEASE_ENDED, () => frame.uint8(0))
        } else {
          refused++
          trials.must(frame.length > 0, 'a frame that could not be kept is gone')
        }
      }
    }
    stale = batch.at(0)
    // Rarely enough that the bound is met in between.
    if (random.chance(0.02)) {
      for (const one of kept.splice(0, random.below(kept.length + 1))) {
        trials.must(one.length > 0, 'a kept frame is gone')
        const leaves = [() => one.send(), () => one.forward(other), () => false][random.below(3)] as () => boolean
        if (!leaves()) one.drop()
        trials.try('touched after it was kept no more', LEASE_ENDED, () => one.uint8(0))
      }
    }
    if (--batches <= 0) break
  }
  trials.must(refused > 0, 'nothing was refused to be kept')
  for (const one of kept) one.drop()
  return trials.misused
}

/**
 * Transmits and recycles descriptors that are not frames, or not any more, beside those of frames.
 */
export async function misuseDescriptors(port: Port, random: Random, rounds: number): Promise<Misused> {
  const trials = new Trials()
  const queue = port.queue(0)
  const [batch, bad] = [queue.batch(64), queue.batch(64)]
  const size = batch.memory.length
  const descriptors = [
    () => [random.u32(), random.u32()],
    () => [random.below(size), random.below(4096)],
    () => [random.below(size), 0x8000_0000 | random.below(2048)],
    () => [size - 1 + random.below(3), 60],
    () => [0xffff_ffff, 0xffff_ffff],
    () => [batch.descriptors[0] ?? 0, 0],
    () => [batch.descriptors[2 * random.below(64)] ?? 0, batch.descriptors[1] ?? 0],
  ]
  let received = 0
  for (let n = 0; n < rounds || received < rounds; n++) {
    const more = queue.receive(batch)
    received += more
    if (more === 0) await turn()
    if (random.chance(0.2)) queue.allocate(batch)
    bad.length = random.below(65)
    for (let i = 0; i < bad.length; i++) bad.descriptors.set(random.pick(descriptors)(), 2 * i)
    const [deed, length] = [random.pick(['transmit', 'recycle'] as const), bad.length]
    trials.try(`${deed} what is no frame`, undefined, () => {
      const count = queue[deed](bad)
      trials.must(count <= length, `${deed} took ${count} of ${length} descriptors`)
    })
    if (random.chance(0.5)) queue.transmit(batch)
    else queue.recycle(batch)
    if (batch.length > 0) {
      // There was no slot: whatever waits there now.
      queue.kick()
      queue.recycle(batch)
    }
    if (random.chance(0.3)) {
      // All of it once more: none of it is ours.
      batch.length = random.below(65)
      trials.try('given back twice', undefined, () => queue.recycle(batch))
    }
    trials.must(batch.length === 0, 'a batch that was given back is not empty')
    if (n % 64 === 0) await turn()
  }
  queue.kick()
  // What went astray meanwhile: every chunk that is held by nobody else comes home.
  const frameSize = size / queue.stats().chunks.total
  for (let chunk = 0; chunk < size / frameSize; chunk++) {
    batch.descriptors.set([chunk * frameSize, 0], 2 * batch.length++)
    if (batch.length === batch.capacity) queue.recycle(batch)
  }
  queue.recycle(batch)
  return trials.misused
}
