import test from 'ava'
import { Checker, Numbered, turnAround } from '../helpers/programs/numbered.js'

// What the endurance test believes, judged by frames of known fault.

const station = { info: { mac: '02:00:00:00:00:01', addresses: ['192.0.2.10/24'], vlan: null } }
const to = { mac: '02:00:00:00:00:02', address: '192.0.2.2', port: 9000 }
const numbered = new Numbered(station, to)

/** A frame of a flow, as it comes back: flows are told apart by the sender. */
function frame(number: number, flow = 0): Uint8Array {
  const bytes = new Uint8Array(numbered.bytes.length)
  numbered.write(bytes, 0, flow, number)
  turnAround(bytes, 0)
  return bytes
}

function altered(at: number): Uint8Array {
  const bytes = frame(7)
  bytes[at] = (bytes[at] as number) ^ 1
  return bytes
}

const none = { frames: 0, batches: 0, distinct: 0, missing: 0, late: 0, corrupt: 0, other: 0, unsent: 0 }
const cases: [string, Uint8Array[], Partial<typeof none>][] = [
  ['in order', [frame(0), frame(1)], { distinct: 2 }],
  ['a gap', [frame(0), frame(5)], { distinct: 2, missing: 4 }],
  ['repeated', [frame(0), frame(1), frame(1)], { distinct: 2, late: 1 }],
  ['overtaken', [frame(0), frame(2), frame(1), frame(3)], { distinct: 3, missing: 1, late: 1 }],
  ['flows for themselves', [frame(0), frame(0, 1), frame(1, 1), frame(1)], { distinct: 4 }],
  ['a number beyond 32 bits', [frame(2 ** 33)], { distinct: 1, missing: 2 ** 33 }],
  ['altered number', [altered(49)], { corrupt: 1 }],
  ['altered pattern', [altered(50), altered(81)], { corrupt: 2 }],
  ['cut short', [frame(0).subarray(0, 81)], { corrupt: 1 }],
  ['of another kind', [altered(12), altered(23), new Uint8Array(20)], { other: 3 }],
]

for (const [name, frames, expected] of cases) {
  test(`numbered frames: ${name}`, (t) => {
    const checker = new Checker()
    for (const bytes of frames) checker.check(bytes, 0, bytes.length)
    t.deepEqual(checker.seen, { ...none, frames: frames.length, ...expected })
  })
}

test('a frame that was turned around twice is as before', (t) => {
  const bytes = frame(3)
  const before = bytes.slice()
  turnAround(bytes, 0)
  t.notDeepEqual(bytes, before)
  turnAround(bytes, 0)
  t.deepEqual(bytes, before)
})
