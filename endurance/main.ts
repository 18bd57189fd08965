// npm run endurance: numbered frames into a client, out of it and through it, as many as you like:
// `-- --packets 100000000 [--mode native] [--stage l2fwd] [--level descriptors] [--queues 1] [--rings bpf]`.
// All must arrive in order, or be counted as lost.
import { parseArgs } from 'node:util'
import { endure, STAGES } from '../__test__/helpers/endurance.js'

const { values } = parseArgs({
  options: {
    packets: { type: 'string', default: '10000000' },
    mode: { type: 'string' },
    stage: { type: 'string' },
    level: { type: 'string' },
    queues: { type: 'string', default: '1' },
    rings: { type: 'string', default: 'xsk' },
  },
})
const packets = Number(values.packets)
const modes = (['native', 'skb'] as const).filter((mode) => mode === (values.mode ?? mode))
const levels = (['batches', 'descriptors'] as const).filter((level) => level === (values.level ?? level))
const stages = STAGES.filter((stage) => stage === (values.stage ?? stage))
if (!Number.isInteger(packets) || packets < 1)
  throw new Error(`--packets takes a number from 1 on, not ${values.packets}`)
if (modes.length === 0) throw new Error(`--mode is native or skb, not ${values.mode}`)
if (stages.length === 0) throw new Error(`--stage is one of ${STAGES.join(', ')}, not ${values.stage}`)
if (levels.length === 0) throw new Error(`--level is batches or descriptors, not ${values.level}`)

const rings = (['xsk', 'bpf'] as const).find((kind) => kind === values.rings)
if (!rings) throw new Error(`--rings is xsk or bpf, not ${values.rings}`)
if (rings === 'bpf' && modes.includes('skb')) throw new Error('BPF rings take `--mode native`')

for (const [mode, level] of modes.flatMap((mode) => levels.map((level) => [mode, level] as const))) {
  const undo: (() => Promise<void>)[] = []
  try {
    console.log(`${mode}, ${level}, ${rings} rings: ${packets} packets a stage`)
    const all = await endure(
      { teardown: (step) => void undo.unshift(step) },
      { mode, level, queues: Number(values.queues), rings, packets, stages, tell: console.log },
    )
    // The last one has what was found at the end.
    const faults = all.flatMap((endured) => endured.faults)
    for (const fault of faults) console.error(fault)
    if (faults.length > 0) process.exitCode = 1
  } finally {
    for (const step of undo) await step()
  }
}
