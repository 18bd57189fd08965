// A station of ours and the kernel of a Linux host, asked the same: who answers, and with which bytes.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { arp, icmp, ndp, type Station, udp } from 'xsknet/headers'
import { DIFFERENCES, differencesOf, OPTIONAL } from '../helpers/answers/differences.js'
import { ECHO_PORT, Generated } from '../helpers/answers/generated.js'
import { LinuxHost } from '../helpers/answers/host.js'
import { root } from '../helpers/workspace.js'
import * as p from '../unit/headers/packets.js'

/** By hand more: `XSKNET_FRAMES=100000`, and others: `XSKNET_SEED=7`. */
const count = Number(process.env.XSKNET_FRAMES ?? 30_000)
const seed = Number(process.env.XSKNET_SEED ?? 1)

/** What a program answers that does all that `xsknet/headers` can do for it. */
function answerOf(frame: Buffer, station: Station): Buffer | undefined {
  const packet = p.held(frame)
  if (arp.answer(packet, station) || ndp.answer(packet, station) || icmp.echo(packet, station)) return packet.bytes
  const query = udp(packet)
  if (query?.destinationPort !== ECHO_PORT || !query.checksumOk) return undefined
  return udp.answer(packet, station, query.payloadLength) ? packet.bytes : undefined
}

const tagged = (frame: Buffer) => Buffer.concat([frame.subarray(0, 12), p.u16(0x8100, 42), frame.subarray(12)])

test.serial('a station answers as Linux does, but for the differences that are documented', async (t) => {
  t.timeout(60_000 + count)
  const host = await LinuxHost.create(t)
  const generated = new Generated(seed)
  const frames = Array.from({ length: count }, () => generated.next())
  const linux = await host.answersTo(frames)

  const seen = new Map(DIFFERENCES.map((name) => [name, 0]))
  const both = { answered: 0, silent: 0 }
  const unexplained: string[] = []
  for (const [n, frame] of frames.entries()) {
    const asked = { frame, ours: answerOf(frame, p.STATION), linux: linux[n] as Buffer[] }
    const names = differencesOf(asked)
    for (const name of names ?? []) seen.set(name, (seen.get(name) ?? 0) + 1)
    if (!names) unexplained.push(told(asked))
    if (asked.ours && asked.linux.length > 0) both.answered++
    if (!asked.ours && asked.linux.length === 0) both.silent++

    // A VLAN is a wire of its own: all is the same there, behind the tag.
    const inVlan = answerOf(tagged(frame), p.TAGGED)
    const expected = asked.ours && tagged(asked.ours)
    if (frame.readUInt16BE(12) !== 0x8100 && frame.readUInt16BE(12) !== 0x88a8 && !same(inVlan, expected)) {
      t.fail(`in a VLAN: ${frame.toString('hex')}\n${inVlan?.toString('hex')}`)
    }
  }
  t.log(`${count} frames of seed ${seed}: ${both.answered} answered by both, ${both.silent} by neither`)
  t.log([...seen].map(([name, times]) => `${name}: ${times}`).join(', '))
  t.is(unexplained.length, 0, unexplained.slice(0, 5).join('\n'))
  t.true(both.answered > count / 5 && both.silent > count / 5, JSON.stringify(both))
  // A difference that is not there any more is to be struck from the page.
  if (count >= 30_000) for (const [name, times] of seen) t.true(times > 0 || OPTIONAL.includes(name), name)
})

function same(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one && other ? one.equals(other) : one === other
}

function told({ frame, ours, linux }: { frame: Buffer; ours: Buffer | undefined; linux: readonly Buffer[] }): string {
  const answers = linux.map((answer) => answer.toString('hex')).join('\n       ')
  return (
    `frame: ${frame.toString('hex')}\nours:  ${ours?.toString('hex') ?? 'no answer'}\nLinux: ` +
    `${answers || 'no answer'}`
  )
}

test('docs/headers.md has each difference, and no other', (t) => {
  const page = readFileSync(`${root}docs/headers.md`, 'utf8')
  const [, table = ''] = page.split('## Differences to Linux\n')
  const names = [...table.matchAll(/^\| ([^|]+?) \|/gm)]
    .map(([, name]) => name)
    .filter((name) => !/^(difference|-+)$/.test(name ?? ''))
  t.deepEqual(names.sort(), [...DIFFERENCES].sort())
})
