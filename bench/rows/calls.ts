// System calls under load.
import type { Check } from '../comparison.js'
import { systemCallsPerPacket } from '../costs.js'
import { Place, PORT, target } from '../place.js'

const FRAMES = 2_000_000
/** Of a run itself: it is told of, and tells of its end. */
const APART = 20 / FRAMES

export const calls: Check = {
  name: 'system calls',
  async measure(settings) {
    const place = await Place.open(settings)
    const client = await place.client(0)
    const sending = () => client.order('txonly', { ...place.frames(client, 64), frames: FRAMES })
    const receiving = () => place.flooding(target(client), () => client.order('rxdrop', { port: PORT, frames: FRAMES }))
    // The compilers have threads, and those make calls until all is compiled.
    for (const run of [sending, receiving]) await run()
    const [sent, received] = [
      await systemCallsPerPacket(client.pid, sending),
      await systemCallsPerPacket(client.pid, receiving),
    ]
    return [
      { name: 'system calls', value: sent.about, unit: `a packet sent: ${sent.names}`, most: 1 / 128 + APART },
      {
        name: 'system calls, receiving',
        value: received.about,
        unit: `a packet received: ${received.names || 'none'}`,
        most: APART,
      },
    ]
  },
}
