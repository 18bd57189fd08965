import type { PortEntry } from 'xsknet'
import { CARD, portAddresses } from '../lab.js'
import { waitUntil } from '../program.js'
import type { Attack } from './attack.js'
import { ATTACKER, PORTS } from './parties.js'

/** What `hostile` does with what a port comes with. */
const DEEDS = ['garbage', 'truncate', 'silent'] as const

/** Everything that is shared with the kernel is written over, while frames come. */
export const rings: Attack = {
  name: 'rings',
  defence: 'the kernel takes nothing in a ring or a UMEM at its word, and the daemon does not look at them',
  async prepare(field) {
    const { lab, daemon } = field
    return {
      async variant(random) {
        const deed = random.pick(DEEDS)
        const address = portAddresses(PORTS.attacker)[0]
        const program = field.program('hostile', ATTACKER, daemon.socket, deed, CARD, address)
        await program.waitFor(/^ready/)
        const [port] = (await daemon.ask<PortEntry[]>('ports')).filter(({ uid }) => uid === ATTACKER)
        if (!port) throw new Error('the attacker has no port')
        await lab.flood({ mac: port.mac, address, port: 9 }, { frames: 5000 + random.below(20_000), rate: 40_000 }).done
        await program.kill()
        return `${deed}, while frames come`
      },
      async judge() {
        const left = async () => (await daemon.ask<PortEntry[]>('ports')).filter(({ uid }) => uid === ATTACKER).length
        await waitUntil('without the attacker’s port', async () => (await left()) === 0, 3000)
        return { saw: 'its port gone with it', faults: [] }
      },
    }
  },
}
