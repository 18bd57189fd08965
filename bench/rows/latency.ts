// A question and its answer over UDP. Ours: between two ports of one uplink. The peer: node:dgram in two namespaces
// with one veth pair between them. Either all ends spin until the next packet, or all sleep; each is on the processor
// of its end.
import { execFileSync } from 'node:child_process'
import { readlinkSync } from 'node:fs'
import type { PortOptions } from 'xsknet'
import { Conversation } from '../../__test__/helpers/conversation.js'
import type { Lab } from '../../__test__/helpers/lab.js'
import { waitUntil } from '../../__test__/helpers/program.js'
import { stagedProgram } from '../../__test__/helpers/stage.js'
import type { Family, Reading } from '../comparison.js'
import { type Fresh, GENERATOR, MEASURED, Place, pin, turn } from '../place.js'
import type { Answers, Questions } from '../programs/echoes.js'
import { quantile } from '../statistics.js'
import type { Undo } from '../undo.js'

const ECHO = 7
/** Microseconds that a reader looks at its empty ring before it sleeps: longer than an answer takes. */
const SPIN = 1000
/** The port that asks. */
const ASKING = 7777

interface Kind {
  name: string
  quantiles: { part: number; suffix: string; bound?: { least: number; goal: number } }[]
  regime: 'busy' | 'asleep'
  /** Questions of a second, at most. */
  perSecond: number
}

export const latency = family({
  name: 'latency',
  quantiles: [
    { part: 0.5, suffix: 'p50', bound: { least: 1.5, goal: 2 } },
    { part: 0.99, suffix: 'p99', bound: { least: 1, goal: 2 } },
  ],
  regime: 'busy',
  perSecond: 10_000,
})

export const wakeUp = family({
  name: 'wake-up',
  quantiles: [{ part: 0.5, suffix: 'p50', bound: { least: 1, goal: 1.2 } }],
  regime: 'asleep',
  perSecond: 10_000,
})

function family({ name, quantiles, regime, perSecond }: Kind): Family {
  return {
    rows: quantiles.map(({ suffix, bound }) => ({
      name: `${name} ${suffix}`,
      regime,
      unit: 'µs',
      better: 'less',
      ...(bound && { bound }),
    })),
    async prepare({ seconds, ...setting }) {
      const place = await Place.open(setting)
      const spins = regime === 'busy'
      const read = async ({ asker, to }: Ends, seconds: number): Promise<Reading> => {
        const count = Math.max(10, Math.round(seconds * perSecond))
        const { times, wrong, used } = await asker.ask<Answers>({ do: 'ask', to, count } satisfies Questions & {
          do: string
        })
        if (wrong > 0) throw new Error(`${name}: ${wrong} of ${count} answers were wrong`)
        return {
          figures: Object.fromEntries(
            quantiles.map(({ part, suffix }) => [`${name} ${suffix}`, quantile(times, part)]),
          ),
          aside: {
            'p50 in µs': quantile(times, 0.5),
            'p99 in µs': quantile(times, 0.99),
            'p99.9 in µs': quantile(times, 0.999),
            'cores used by who asks': used,
          },
        }
      }
      return {
        ours: () => turn(() => ports(place, spins), seconds, read),
        peer: () => turn(() => datagrams(setting.undo, place.lab, spins), seconds, read),
      }
    },
  }
}

/**
 * Both between two ports of one uplink, by a loop over descriptors that never sleeps: ours on BPF rings, the peer on
 * AF_XDP with the socket options of busy polling.
 */
export const ringsLatency: Family = {
  rows: [{ name: 'rings latency p50', regime: 'busy', unit: 'µs', better: 'less' }],
  async prepare({ seconds, ...setting }) {
    const place = await Place.open(setting)
    const read = async ({ asker, to }: Ends, seconds: number): Promise<Reading> => {
      const count = Math.round(seconds * 10_000)
      const { times, wrong } = await asker.ask<Answers>({ do: 'ask spinning', to, count })
      if (wrong > 0) throw new Error(`rings latency: ${wrong} of ${count} answers were wrong`)
      return {
        figures: { 'rings latency p50': quantile(times, 0.5) },
        aside: { 'p99 in µs': quantile(times, 0.99), 'p99.9 in µs': quantile(times, 0.999) },
      }
    }
    const ends = (options: Partial<PortOptions>) => () => between(place, options, 'echo spinning')
    return {
      ours: () => turn(ends({ rings: 'bpf' }), seconds, read),
      peer: () => turn(ends({ busyPoll: { spinMicroseconds: SPIN } }), seconds, read),
    }
  },
}

interface Ends extends Fresh {
  asker: Pick<Conversation, 'ask'>
  to: Questions['to']
}

function ports(place: Place, spins: boolean): Promise<Ends> {
  return between(place, spins ? { busyPoll: { spinMicroseconds: SPIN } } : {}, 'echo')
}

async function between(place: Place, options: Partial<PortOptions>, echo: string): Promise<Ends> {
  const [asker, answerer] = [await place.client(0, options), await place.client(1, options)]
  pin(answerer.pid, GENERATOR)
  await answerer.ask({ do: echo })
  const end = () => Promise.all([asker.end(), answerer.end()])
  return { asker, to: { mac: answerer.mac, address: answerer.address, port: ECHO }, end }
}

const [ASKER, ANSWERER] = ['198.51.100.1', '198.51.100.2']

async function datagrams(undo: Undo, lab: Lab, spins: boolean): Promise<Ends> {
  const script = stagedProgram(lab.folder, 'bench/programs/dgram.ts')
  const ends = [MEASURED, GENERATOR].map((processor) => {
    const conversation = new Conversation(['unshare', '--net', '--', process.execPath, script], { cwd: lab.folder })
    undo.teardown(async () => {
      if (conversation.program.running) await conversation.program.kill()
    })
    return { conversation, processor, pid: conversation.program.pid }
  })
  const [asker, answerer] = ends as [(typeof ends)[0], (typeof ends)[0]]
  await waitUntil('two namespaces', () => ends.every(({ pid }) => namespaceOf(pid) !== namespaceOf('self')))
  const ip = (...words: string[]) => execFileSync('ip', words)
  ip(
    'link',
    'add',
    'bench0',
    'netns',
    `${asker.pid}`,
    'type',
    'veth',
    'peer',
    'name',
    'bench0',
    'netns',
    `${answerer.pid}`,
  )
  for (const [{ pid }, address] of [
    [asker, ASKER],
    [answerer, ANSWERER],
  ] as const) {
    const within = (...words: string[]) => execFileSync('nsenter', [`--net=/proc/${pid}/ns/net`, '--', 'ip', ...words])
    within('address', 'add', `${address}/24`, 'dev', 'bench0')
    within('link', 'set', 'bench0', 'up')
  }
  for (const { pid, processor } of ends) pin(pid, processor)
  const [asking, answering] = [
    { port: ASKING, address: ASKER },
    { port: ECHO, address: ANSWERER },
  ]
  await asker.conversation.ask({ do: 'open', own: asking, other: answering, spins })
  await answerer.conversation.ask({ do: 'open', own: answering, other: asking, spins })
  await answerer.conversation.ask({ do: 'echo' })
  const end = () => Promise.all(ends.map(({ conversation }) => conversation.program.kill()))
  return { asker: asker.conversation, to: { mac: '', ...answering }, end }
}

const namespaceOf = (pid: number | 'self') => readlinkSync(`/proc/${pid}/ns/net`)
