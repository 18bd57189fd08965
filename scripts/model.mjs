// npm run model: compares the BPF programs with the reference model in Rust, on random rule sets and random packets
// near them: `-- [--rule-sets 1000] [--packets 1000000] [--seed 7]`. Half of the packets arrive, ports send the others.
// The same seed draws the same rules and packets. Differences are counted, and the first ones printed.
import { parseArgs } from 'node:util'
import { release } from './lib/cargo.mjs'
import { main, must, run, Stop } from './lib/run.mjs'
import { setup } from './setup.mjs'

const TEST = 'tests::random_rules::kernel_and_model_agree_on_random_rules'

await main(async () => {
  const { values } = parseArgs({
    options: {
      'rule-sets': { type: 'string', default: '1000' },
      packets: { type: 'string', default: '1000000' },
      seed: { type: 'string', default: `${Date.now() % 2 ** 31}` },
    },
  })
  const number = (name) => {
    if (/^\d{1,15}$/.test(values[name])) return values[name]
    throw new Stop(`--${name} takes an integer, not ${values[name]}`)
  }
  const env = {
    XSKNET_RULE_SETS: number('rule-sets'),
    XSKNET_PACKETS: number('packets'),
    XSKNET_SEED: number('seed'),
  }
  if (env.XSKNET_RULE_SETS === '0') throw new Stop('--rule-sets takes at least 1')
  await setup()
  const cargo = ['test', '--quiet', ...release(), '-p', 'xsknet-bpf', '--lib']
  await must('cargo', [...cargo, '--no-run'])
  if ((await run('cargo', [...cargo, '--', '--nocapture', '--exact', TEST], { env })) !== 0)
    throw new Stop('the programs and the model differ: see above')
})
