import { readFileSync } from 'node:fs'
import { CARD, portAddresses } from '../lab.js'
import { type Program, run, waitUntil } from '../program.js'
import type { Answered } from '../programs/attacker.js'
import type { Attack } from './attack.js'
import { ATTACKER, GOOD_GRANT, grant, PORTS, VICTIM } from './parties.js'

/** A pinned port is asked for in the network namespace of somebody else. */
export const foreignNamespaces: Attack = {
  name: 'foreign-namespaces',
  defence: 'a device is put only into a namespace that the client is in, or that its user owns',
  daemon: {
    config: [GOOD_GRANT, grant(VICTIM, [PORTS.victim]), grant(ATTACKER, [PORTS.attacker], 'pinned = true\n')].join(''),
  },
  variants: 3,
  async prepare(field) {
    const { lab } = field
    const attacker = field.client(ATTACKER)
    const victim = field.client(VICTIM)
    const [own, others] = [attacker, victim].map(({ program }) => `/proc/${program.pid}/ns/net`) as [string, string]
    await Promise.all([attacker, victim].map((client) => client.ask({ do: 'pid' })))
    const ask = async (path: string) => {
      const fd = await attacker.ask<number>({ do: 'openFile', path })
      const request = {
        operation: 'openPinnedPort',
        port: { uplink: CARD, addresses: [portAddresses(PORTS.attacker)[0]] },
      }
      const { answer } = await attacker.ask<Answered>({ do: 'rawAsk', by: 'pinned', request, fds: [fd] })
      const opened = answer.result?.info as { port: number } | undefined
      return {
        answer,
        undo: () =>
          opened &&
          attacker.ask({ do: 'rawAsk', by: 'pinned', request: { operation: 'closePort', port: opened.port } }),
      }
    }
    // Its own is right, or a refusal says nothing.
    const { answer, undo } = await ask(own)
    if (answer.error) throw new Error(`not even its own namespace: ${answer.error.message}`)
    await undo()

    // A process of the attacker's user is in each: that is how it comes to a descriptor of it.
    const places = [
      ['the host', lab.host.namespace],
      ['the far end', lab.remote.namespace],
      ['another user', others],
    ].map(
      ([whose, namespace]) =>
        [whose, field.spawnIn(namespace as string, ATTACKER, 'sleep', '3600')] as [string, Program],
    )
    const inside = async (program: Program) => {
      await waitUntil('asleep', () => readFileSync(`/proc/${program.pid}/comm`, 'utf8') === 'sleep\n')
      return `/proc/${program.pid}/ns/net`
    }
    const devices = async (path: string) => {
      const { stdout } = await run(['nsenter', `--net=${path}`, 'ip', '-o', 'link'])
      return [...stdout.matchAll(/^\d+: ([^:@]+)/gm)].map(([, name]) => name as string)
    }
    let [place, grown, came]: [string, string[], Answered['answer']] = ['', [], {}]
    let turn = 0
    return {
      async variant() {
        const [whose, program] = places[turn++ % places.length] as [string, Program]
        place = whose
        const path = await inside(program)
        const before = await devices(path)
        const { answer, undo } = await ask(path)
        came = answer
        grown = (await devices(path)).filter((name) => name.startsWith('xski') && !before.includes(name))
        await undo()
        return `the namespace of ${whose}`
      },
      async judge() {
        const faults = []
        if (came.error === undefined) faults.push(`a port was opened in the namespace of ${place}`)
        if (grown.length > 0) faults.push(`${grown.join(', ')} came into the namespace of ${place}`)
        return {
          saw: came.error ? `${came.error.code}: ${came.error.message}` : `the new device ${grown.join(', ')}`,
          faults,
        }
      },
    }
  },
}
