import { readFileSync } from 'node:fs'
import test from 'ava'
import { tapped } from 'xsknet'
import { COUNTERS } from '../../packages/xsknet/src/frames/tapped.js'
import { root } from '../helpers/workspace.js'

test('the counters have the names and the order of the programs', (t) => {
  const contract = readFileSync(`${root}bpf/include/xsknet/contract.h`, 'utf8')
  const [, list = ''] = /enum xsknet_counter \{([^}]*)\}/.exec(contract) ?? []
  const names = [...list.matchAll(/^\tXSKNET_(?:DROP_)?(\w+),/gm)].map(([, name = '']) => name.toLowerCase())
  t.deepEqual([...COUNTERS, 'counters'], names)
})

test('what is not a frame is refused', (t) => {
  t.throws(() => tapped({} as never), { code: 'ERR_INVALID_ARG_TYPE' })
})
