import { execFileSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { CARD, portAddresses, portPrefixes } from '../lab.js'
import type { Answered } from '../programs/attacker.js'
import type { Attack } from './attack.js'
import { ATTACKER, GOOD_GRANT, grant, PORTS, VICTIM } from './parties.js'

/** Longer than a close takes on a busy machine, and shorter than a lock is held, milliseconds. */
const LONG = 250

export const lockedFile: Attack = {
  name: 'locked-file',
  defence: 'nobody waits for the file of another user’s UMEM',
  daemon: { config: [GOOD_GRANT, grant(VICTIM, [PORTS.victim]), grant(ATTACKER, [PORTS.attacker])].join('') },
  variants: 1,
  async prepare(field) {
    const program = `${field.lab.folder}/locked-file`
    execFileSync('gcc', ['-O1', '-pthread', '-o', program, new URL('locked-file.c', import.meta.url).pathname])
    chmodSync(program, 0o755)
    const victim = await field.connected(VICTIM)
    let took = 0
    return {
      async variant() {
        const attacker = field.spawn(ATTACKER, program, field.daemon.socket, portAddresses(PORTS.attacker)[0])
        await attacker.waitFor(/^closed/, 10_000)
        const request = {
          operation: 'openPort',
          port: { uplink: CARD, addresses: [portPrefixes(PORTS.victim)[0]], frames: 128, ringSize: 64 },
        }
        const { answer, fds } = await victim.ask<Answered>({ do: 'rawAsk', request })
        if (answer.error) throw new Error(answer.error.message)
        await victim.ask({ do: 'closeFds', fds })
        const { port } = (answer.result as { info: { port: number } }).info
        const began = performance.now()
        await victim.ask({ do: 'rawAsk', request: { operation: 'closePort', port } })
        took = performance.now() - began
        await attacker.kill()
        return 'the file of a port that is closed is locked'
      },
      async judge() {
        const saw = `${Math.round(took)} ms for a victim’s closePort`
        return { saw, faults: took > LONG ? [saw] : [] }
      },
    }
  },
}
