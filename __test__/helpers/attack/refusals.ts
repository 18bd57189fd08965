import type { PortInfo } from 'xsknet'
import { CARD, portAddresses, portPrefixes } from '../lab.js'
import type { Answered } from '../programs/attacker.js'
import type { Attack } from './attack.js'
import { ATTACKER, GOOD_GRANT, grant, PORTS, VICTIM } from './parties.js'

/** What somebody learns of others by being refused. */
export const refusals: Attack = {
  name: 'refusals',
  defence: 'a refusal names nothing of another user, only that it is another user’s',
  // Both may have the same, so that no grant stands in the way.
  daemon: {
    config: [GOOD_GRANT, grant(VICTIM, [PORTS.victim]), grant(ATTACKER, [PORTS.victim, PORTS.attacker])].join(''),
  },
  variants: 12,
  async prepare(field) {
    const victim = await field.connected(VICTIM)
    const attacker = field.client(ATTACKER)
    const name = `secret-${process.pid}`
    const info = await victim.ask<PortInfo>({ do: 'open', uplink: CARD, name, addresses: portPrefixes(PORTS.victim) })
    const secrets = [
      ['the port’s name', name],
      ['the port’s MAC', info.mac],
      ['its owner', `${VICTIM}`],
      ['its owner’s process', `${victim.program.pid}`],
      ['its devices', info.outer],
      ['its devices', info.inner],
    ] as const
    const [v4, v6] = portAddresses(PORTS.victim)
    const own = portAddresses(PORTS.attacker)
    const open = (port: object) => ({
      operation: 'openPort',
      port: { uplink: CARD, frames: 512, ringSize: 256, ...port },
    })
    const requests: [string, object][] = [
      ['its IPv4 address', open({ addresses: [v4] })],
      ['its IPv6 address', open({ addresses: [v6] })],
      ['its addresses among others', open({ addresses: [own[0], v4, v6] })],
      ['its name', open({ addresses: [own[0]], name })],
      ['its name and its address', open({ addresses: [v4], name })],
      ['its UMEM', open({ addresses: [own[0]], umemOf: { port: info.port, inFill: [[0, 64]] } })],
      ['its end', { operation: 'closePort', port: info.port }],
      ['its statistics', { operation: 'portStatistics', port: info.port }],
      ['the list of ports', { operation: 'ports' }],
      ['the list of ports behind none', { operation: 'ports', after: 0 }],
      ['the daemon’s status', { operation: 'status' }],
      ['its device as an uplink', { operation: 'uplinkStatistics', uplink: info.outer }],
    ]
    let turn = 0
    let answer: Answered['answer'] = {}
    let asked = ''
    return {
      async variant(random) {
        const [what, request] = requests[turn++ % requests.length] as (typeof requests)[number]
        asked = what
        const { answer: came, fds } = await attacker.ask<Answered>({
          do: 'rawAsk',
          by: `line${random.below(2)}`,
          request,
        })
        await attacker.ask({ do: 'closeFds', fds })
        answer = came
        const opened = came.result?.info as { port: number } | undefined
        if (opened)
          await attacker.ask({ do: 'rawAsk', by: 'line0', request: { operation: 'closePort', port: opened.port } })
        return `asking for ${what} of another user's port`
      },
      async judge() {
        const { result, error } = answer
        // What the attacker itself said, it may hear again; whose device it named, it knew.
        const said = JSON.stringify(requests.find(([what]) => what === asked)?.[1])
        const text = JSON.stringify(answer)
        const told = secrets.filter(([, secret]) => text.includes(secret) && !said.includes(secret))
        const faults = told.map(([what, secret]) => `the answer tells ${what}, ${secret}: ${text}`)
        return {
          saw: error ? `${error.code}: ${error.message}` : `an answer with ${Object.keys(result ?? {}).join(', ')}`,
          faults,
        }
      },
    }
  },
}
