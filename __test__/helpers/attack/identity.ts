import type { PortInfo } from 'xsknet'
import type { Client } from '../client.js'
import { CARD, HOST, portAddresses, portPrefixes, REMOTE } from '../lab.js'
import { waitUntil } from '../program.js'
import type { Random } from '../programs/random.js'
import type { Attack } from './attack.js'
import { nameFor } from './fnv.js'
import { ATTACKER, GOOD_GRANT, grant, PORTS, VICTIM } from './parties.js'
import { Sender } from './sender.js'

type Try = { info: PortInfo } | { refused: string }

async function tried(client: Client, port: object): Promise<Try> {
  try {
    return { info: await client.ask<PortInfo>({ do: 'open', uplink: CARD, ...port }) }
  } catch (error) {
    return { refused: (error as { code?: string }).code ?? (error as Error).message }
  }
}

/** The MAC of a named port is computed backwards: the name is chosen so that the MAC is a neighbour's. */
export const nameCollision: Attack = {
  name: 'name-collision',
  defence: 'the MAC of a named port follows from a keyed hash, and the MAC of a neighbour is refused',
  async prepare(field) {
    const { lab, daemon, bystander } = field
    const beside = bystander.info
    const attacker = await field.connected(ATTACKER)
    const victim = await field.connected(VICTIM)
    const own = await victim.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(PORTS.victim) })
    const capture = await field.capture()
    const sender = new Sender(victim, own, lab.farMac)
    const targets = [
      ['the gateway', lab.farMac],
      ['the port of another user', own.mac],
      ['the port of the client beside', beside.mac],
      ['the uplink', lab.cardMac],
    ] as const
    let turn = 0
    let wanted = ''
    let came: Try = { refused: 'nothing was tried' }
    return {
      async variant(random: Random) {
        const [who, mac] = targets[turn++ % targets.length] as (typeof targets)[number]
        const name = nameFor(`${daemon.instance}/${CARD}/`, mac, random)
        const addresses = random.chance(0.5) ? portPrefixes(PORTS.attacker) : portPrefixes(PORTS.attacker).slice(1)
        wanted = mac
        came = await tried(attacker, { name, addresses })
        return `the name ${name}, which gives ${mac} of ${who} without a key`
      },
      async judge() {
        const faults = []
        const [frames, fence] = [sender.datagrams(8), sender.datagrams(1)[0] as Buffer]
        // The fence goes to all, so that it comes whoever has taken the gateway's MAC.
        fence.fill(0xff, 0, 6)
        await sender.send([...frames, fence])
        const seen = await capture.until(fence)
        const arrived = frames.filter((frame) => seen.some((one) => one.equals(frame))).length
        if (arrived < frames.length) faults.push(`the gateway got ${arrived} of the victim's ${frames.length} frames`)
        let saw = `${arrived} of ${frames.length} frames reach the gateway`
        if ('info' in came) {
          const { mac, addresses } = came.info
          saw += `, the attacker has ${mac}`
          if (mac === wanted) faults.push(`the attacker has the MAC ${mac}, and the addresses ${addresses.join(', ')}`)
          await attacker.ask({ do: 'close' })
        } else saw += `, the attacker was refused: ${came.refused}`
        return { saw, faults }
      },
    }
  },
}

/** A name that somebody else had is used anew, for the frames that still come for its last owner. */
export const nameReuse: Attack = {
  name: 'name-reuse',
  defence: 'names belong to a user: the MAC follows from the uid as well',
  async prepare(field) {
    const { lab } = field
    let attacker: Client | undefined
    let victim: Client | undefined
    let first: PortInfo | undefined
    let second: Try = { refused: 'nothing was tried' }
    return {
      async variant(random) {
        const name = random.pick(['web', 'db', `web.${random.u32()}`, 'A-b_c.', 'x'.repeat(64)])
        const end = random.pick(['closed', 'left', 'killed', 'kept'] as const)
        const owner = await field.connected(VICTIM)
        victim = owner
        await waitUntil('the port of the variant before is undone', async () => {
          const opened = await tried(owner, { name, addresses: portPrefixes(PORTS.victim) })
          first = 'info' in opened ? opened.info : undefined
          return first !== undefined
        })
        if (end === 'closed') await victim.ask({ do: 'close' })
        if (end === 'left') await victim.stop()
        if (end === 'killed') await victim.kill()
        attacker = await field.connected(ATTACKER)
        const port = { name, addresses: portPrefixes(PORTS.attacker) }
        // The first one may not be undone yet.
        await waitUntil('the name is free', async () => {
          second = await tried(attacker as Client, port)
          return end === 'kept' || 'info' in second
        })
        return `the name ${name.slice(0, 20)}, whose port its owner has ${end}`
      },
      async judge() {
        const faults = []
        if (!attacker || !first) throw new Error('nothing was tried')
        let saw = 'the attacker is refused'
        if ('info' in second) {
          const { mac } = second.info
          await attacker.ask({ do: 'record' })
          await lab.flood({ mac: first.mac, address: portAddresses(PORTS.victim)[0], port: 9 }, { frames: 200 }).done
          await lab.flood({ mac, address: portAddresses(PORTS.attacker)[0], port: 9 }, { frames: 20 }).done
          const others = first.mac.replaceAll(':', '')
          const frames: string[] = []
          const own = () =>
            frames.filter((frame) => frame.slice(0, 12) === mac.replaceAll(':', '') && frame.includes('c000020c'))
              .length
          await waitUntil('its own frames came', async () => {
            frames.push(...(await (attacker as Client).ask<string[]>({ do: 'recorded' })))
            return own() >= 20
          })
          const stolen = frames.filter((frame) => frame.startsWith(others)).length
          saw =
            `the MAC ${first.mac} of its port, and ${mac} of the attacker's; ` +
            `${stolen} of 200 frames for the one came to the other`
          if (mac === first.mac) faults.push(`the attacker has the MAC ${mac} of another user's port`)
          if (stolen > 0) faults.push(`the attacker received ${stolen} of 200 frames for another user's port`)
        }
        await attacker.kill()
        if (victim?.program.running) await victim.stop()
        return { saw, faults }
      },
    }
  },
}

const WIDE = grant(ATTACKER, [], '').replace(
  'addresses = []',
  'addresses = ["192.0.2.0/28", "198.51.100.0/24", "2001:db8::/64"]\nvlans = ["untagged", 5]',
)

/** An address that is in use, in a range that was granted without thinking of it. */
export const takenAddress: Attack = {
  name: 'taken-address',
  defence: "the host's own addresses, in every VLAN, and those that a neighbour answers for are refused",
  daemon: { config: `${GOOD_GRANT}${grant(VICTIM, [PORTS.victim])}${WIDE}` },
  variants: 7,
  async prepare(field) {
    const { lab } = field
    const attacker = await field.connected(ATTACKER)
    const victim = await field.connected(VICTIM)
    await victim.ask({ do: 'open', uplink: CARD, addresses: portPrefixes(PORTS.victim) })
    const own = portAddresses(PORTS.attacker)
    const cases = [
      ["the gateway's IPv6 address", [REMOTE.v6], undefined],
      ["the gateway's IPv4 address", [REMOTE.v4], undefined],
      ["the host's IPv4 address in a VLAN", [HOST.v4], 5],
      ["the host's IPv6 address in a VLAN", [HOST.v6], 5],
      ["the host's IPv4 address", [HOST.v4], undefined],
      ["another port's address", [portAddresses(PORTS.victim)[0]], undefined],
      ["another port's IPv6 address", [portAddresses(PORTS.victim)[1]], undefined],
    ] as const
    let turn = 0
    let came: Try = { refused: 'nothing was tried' }
    return {
      async variant(random) {
        const [what, taken, vlan] = cases[turn++ % cases.length] as (typeof cases)[number]
        // Among addresses that are its own, or alone.
        const addresses = random.chance(0.3) ? [own[0], ...taken] : [...taken]
        came = await tried(attacker, { addresses, ...(vlan && { vlan }) })
        return what
      },
      async judge() {
        const faults = []
        let saw = 'nothing new'
        if ('info' in came) {
          faults.push(`it was given: ${came.info.addresses.join(', ')} in VLAN ${came.info.vlan ?? 'none'}`)
          await attacker.ask({ do: 'answer' })
          // What the host and the far end know of one another is asked anew.
          await lab.host.output('ip', 'neigh', 'flush', 'dev', CARD)
          const known = await Promise.all([REMOTE.v4, REMOTE.v6].map((address) => lab.host.unanswered(address, 1)))
          const { stdout } = await lab.host.run('ip', 'neigh', 'show', 'dev', CARD)
          if (stdout.includes(came.info.mac))
            faults.push(`the host takes the attacker for a neighbour: ${stdout.trim()}`)
          saw = `${known.flat().length} of 2 pings unanswered`
          await attacker.ask({ do: 'close' })
        } else saw = `a refusal: ${came.refused}`
        return { saw, faults }
      },
    }
  },
}

export const identity = [nameCollision, nameReuse, takenAddress]
