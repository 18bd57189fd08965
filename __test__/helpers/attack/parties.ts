import { NOBODY } from '../daemon.js'
import { CARD, portAddresses } from '../lab.js'

/** The attacker has a grant, its victim and the client beside have others, the stranger has none. */
export const ATTACKER = NOBODY
export const VICTIM = 61_002
export const GOOD = 61_001
export const STRANGER = 61_003

/** Which of the lab's ports are whose: {@link portAddresses}. */
export const PORTS = { good: 0, opened: 1, attacker: 2, accomplice: 3, victim: 4 } as const

/** The lines of one grant. */
export function grant(user: number, ports: readonly number[], more = ''): string {
  const addresses = ports.flatMap((n) => portAddresses(n))
  const lines = [
    '[[grant]]',
    `user = ${user}`,
    `uplinks = ["${CARD}"]`,
    `addresses = ${JSON.stringify(addresses)}`,
    'ports = 8',
    'memory = "256MiB"',
  ]
  return `${lines.join('\n')}\n${more}`
}

/** What the client beside is granted, whatever the attack. */
export const GOOD_GRANT = grant(GOOD, [PORTS.good, PORTS.opened])

export const GRANTS = [
  GOOD_GRANT,
  grant(VICTIM, [PORTS.victim]),
  grant(ATTACKER, [PORTS.attacker, PORTS.accomplice], 'vlans = ["untagged", 5]\n'),
].join('')
