import test from 'ava'
import { nodes, packed } from '../helpers/installed.js'
import { Reader } from '../helpers/page.js'

/** The oldest Node that runs TypeScript as it is. */
const node = nodes().find(([version]) => version.startsWith('22.'))?.[1] as string

test.serial('docs/getting-started.md leads to an answered ping, from top to bottom', async (t) => {
  const reader = await Reader.sit(t, node, ['nsenter', 'ping', 'setpriv'], { PACKED: packed })
  await t.notThrowsAsync(reader.read('docs/getting-started.md'))
})
