// What reading, answering and building headers costs, on each Node that is supported.
import { execFileSync } from 'node:child_process'
import { nodes, root } from '../../__test__/helpers/workspace.js'
import type { Check } from '../comparison.js'
import { figure } from '../report.js'

/**
 * Nanoseconds. One object that V8 copies into another costs more than that; all that a builder does costs a third of
 * it.
 */
const BUILDS_WITHIN = 500

export const headers: Check = {
  name: 'headers',
  async measure() {
    const args = ['--import=@oxc-node/core/register', `${root}bench/programs/headers.ts`]
    const columns = nodes().map(({ version, path }) => {
      const printed = execFileSync(path, args, { cwd: root, encoding: 'utf8' })
      return { version, costs: JSON.parse(printed) as Record<string, number> }
    })
    const names = Object.keys(columns[0]?.costs ?? {})
    return names.map((name) => {
      const costs = columns.map(({ costs }) => costs[name] as number)
      const each = columns.map(({ version }, at) => `${figure(costs[at] as number)} on Node ${version}`).join(', ')
      const most = /\.(build|request|solicit|write)\b/.test(name) ? { most: BUILDS_WITHIN } : {}
      return { name: `headers, ${name}`, value: Math.max(...costs), unit: `ns a call: ${each}`, ...most }
    })
  },
}
