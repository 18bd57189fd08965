import { execFileSync } from 'node:child_process'
import { chmodSync } from 'node:fs'
import { portPrefixes } from '../lab.js'
import type { Attack } from './attack.js'
import { GRANTED, pinnedMemory, SLACK } from './memory.js'
import { ATTACKER, GOOD_GRANT, grant, PORTS } from './parties.js'

/** The attacker's own socket is on the UMEM of each port that is closed. */
export const borrowedMemory: Attack = {
  name: 'borrowed-memory',
  defence:
    'memory counts against the grant until the kernel has freed it, also where the client has made a socket on it',
  daemon: { config: `${GOOD_GRANT}${grant(ATTACKER, [PORTS.attacker]).replace('256MiB', '64MiB')}` },
  variants: 1,
  async prepare(field) {
    const program = `${field.lab.folder}/borrowed-memory`
    execFileSync('gcc', ['-O1', '-o', program, new URL('borrowed-memory.c', import.meta.url).pathname])
    chmodSync(program, 0o755)
    const attacker = field.spawn(ATTACKER, program, field.daemon.socket, portPrefixes(PORTS.attacker)[0])
    // Not before each variant: what the one before has held goes a moment after its sockets.
    const before = pinnedMemory()
    let held = 0
    let told = ''
    let turn = 0
    return {
      async variant() {
        attacker.write(`${++turn}`)
        told = await attacker.waitFor(new RegExp(`^${turn}: opened`), 60_000)
        held = pinnedMemory() - before
        attacker.write('close')
        return 'a socket of the attacker’s own on the UMEM of each port, which is closed'
      },
      async judge() {
        const [, opened, code] = / opened (\d+): .*"code":"(\w+)"/.exec(told) ?? []
        const saw = `${Math.round(held / 2 ** 20)} MiB held after ${opened} ports, then ${code}`
        return { saw, faults: held > GRANTED + SLACK || code !== 'ERR_XSKNET_LIMIT_REACHED' ? [saw] : [] }
      },
    }
  },
}
