import test from 'ava'
import { judge, report, type Step } from '../../scripts/kernels/report.mjs'

const start = (text: string): Step => ({ mode: 'native', step: 'start: daemon', failed: true, text })
const refused = start('(ERR_XSKNET_PROGRAM_REFUSED)')

test('a step that fails for what its driver lacks is expected, and its reason is shown', (t) => {
  const run = judge('6.12', 'e1000e', [refused])
  t.deepEqual(run.unexpected, [])
  t.regex(report([run]), /\| 6\.12 {3}\| e1000e \| native \| \(1 of 1\) \|/)
  t.regex(report([run]), /e1000e, native, start: daemon: the driver has no XDP/)
})

test('the same step is not expected to fail in another way, or with another driver', (t) => {
  t.is(judge('6.12', 'e1000e', [start('it does not end')]).unexpected.length, 1)
  t.is(judge('6.12', 'igb', [refused]).unexpected.length, 1)
})

test('a column counts the failed steps and is empty if no step ran', (t) => {
  const steps = ['ping', 'udp', 'ping host'].map((name, index) => {
    return { mode: 'skb', step: `traffic: ${name}`, failed: index === 1, text: '0 bytes' }
  })
  const [, , row] = report([judge('6.12', 'igb', steps)]).split('\n')
  const cells = row?.split('|').map((cell) => cell.trim())
  t.deepEqual(cells?.slice(1, 8), ['6.12', 'igb', 'skb', '', '', '1 of 3', ''])
})
