import { execFileSync } from 'node:child_process'
import test from 'ava'
import * as headers from 'xsknet/headers'
import { answers, builders, readers } from '../../helpers/header-calls.js'
import type { HeaderHeap } from '../../helpers/programs/header-heap.js'
import { root } from '../../helpers/workspace.js'
import * as p from './packets.js'

const PACKETS = 1_000_000

test('a million packets, read and answered, allocate nothing', (t) => {
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
  const args = [
    '--expose-gc',
    '--max-semi-space-size=64',
    '--min-semi-space-size=64',
    `${root}__test__/unit/headers/churn.mjs`,
  ]
  const printed = execFileSync(
    process.execPath,
    [...args, `${PACKETS}`, ...packets.map((packet) => packet.toString('hex'))],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
  const { growth, answered, replied } = JSON.parse(printed)
  t.is(answered, 3 * rounds * 4)
  t.is(replied, 3 * rounds * 3)
  // One object for each packet of one of these kinds would be two million bytes.
  t.true(growth < PACKETS, `${growth} bytes`)
})

/** Of the functions that are called in one process, or of this one alone. */
function heapOf(...only: string[]): Record<string, HeaderHeap> {
  const nursery = ['--min-semi-space-size=128', '--max-semi-space-size=128']
  const program = `${root}__test__/helpers/programs/header-heap.ts`
  const args = [...nursery, '--import=@oxc-node/core/register', program, ...only]
  return JSON.parse(execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' }))
}

/** The smallest object has 16 bytes; looking at the heap costs some hundred bytes a stretch of 50,000 calls. */
const NOTHING = 0.5
/** What V8 makes of a number above 2^31 that it reads from objects of several shapes. */
const A_NUMBER = 16

test('no reader and no answer allocates, and a builder no more than V8 takes for a number', (t) => {
  const { witness, ...found } = heapOf()
  t.true((witness?.aCall ?? 0) >= 16, `${witness?.aCall} bytes a call are seen of an object of one field`)
  t.is(witness?.collections, 0)
  t.is(Object.keys(found).length, readers.length + answers.length + builders.length)
  for (const [name, { aCall, failed, collections }] of Object.entries(found)) {
    // Here objects of four shapes are given to `udp.build`.
    const most = name.startsWith('udp.build, IPv4') ? A_NUMBER + NOTHING : NOTHING
    t.true(aCall < most, `${name}: ${aCall} bytes a call`)
    t.is(failed, 0, `${name} did not do what it is for`)
    t.is(collections, 0, name)
  }
})

test('no builder allocates in a program that gives it objects of one shape', (t) => {
  for (const { name } of builders.filter(({ name }) => name.startsWith('udp.build'))) {
    const { aCall, failed, collections } = heapOf(name)[name] as HeaderHeap
    t.true(aCall < NOTHING, `${name}: ${aCall} bytes a call`)
    t.deepEqual([failed, collections], [0, 0], name)
  }
})

test('all that programs call for each packet is looked at', (t) => {
  const exported = Object.entries(headers).flatMap(([name, value]) => [
    name,
    ...Object.entries(value)
      .filter(([, inner]) => typeof inner === 'function')
      .map(([inner]) => `${name}.${inner}`),
  ])
  // Text is for people: it is parsed and formatted outside the loop.
  const wanted = exported.filter((name) => !/^(parse|format)/.test(name))
  const looked = new Set([...readers, ...answers, ...builders].map(({ name }) => name.replace(/,.*/, '')))
  t.deepEqual(
    wanted.filter((name) => !looked.has(name)),
    [],
  )
  t.true(wanted.includes('udp.build') && wanted.includes('checksum.update'))
})
