import { execFileSync } from 'node:child_process'
import test from 'ava'
import { root } from '../../helpers/workspace.js'
import * as p from './packets.js'

const PACKETS = 1_000_000

test('a million packets, read, answered and turned, allocate nothing', (t) => {
  const packets = [
    p.arpFrame(),
    p.solicitation(),
    p.echoRequest4(),
    p.echoRequest6(),
    p.udp4(),
    p.udp6(),
    p.udp4({ options: p.hex('94040000') }),
  ]
  const rounds = Math.ceil(PACKETS / packets.length)
  // No young generation is collected within this growth, so what is seen is all that was allocated.
  const args = ['--expose-gc', '--max-semi-space-size=64', '--min-semi-space-size=64', `${root}__test__/unit/headers/churn.mjs`]
  const printed = execFileSync(process.execPath, [...args, `${PACKETS}`, ...packets.map((packet) => packet.toString('hex'))], {
    cwd: root,
    encoding: 'utf8',
  })
  const { growth, answered, turned } = JSON.parse(printed)
  t.is(answered, 3 * rounds * 4)
  t.is(turned, 3 * rounds * 3)
  // One object for each packet of one of these kinds would be two million bytes.
  t.true(growth < PACKETS, `${growth} bytes`)
})
