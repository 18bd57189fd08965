// What the runs come to: which failures are expected, and the table of all.
import { quirks } from './table.mjs'

/** What a step is about, in the order of the columns: the part of its name before the colon. */
const COLUMNS = [
  'start',
  'open',
  'traffic',
  'rings',
  'sums',
  'vlan',
  'mtu',
  'link',
  'refused',
  'close',
  'unchanged',
  'gone',
  'log',
]

/** Steps of one kernel and driver, and what they say: each failed step with its reason, if the table has one. */
export function judge(kernel, driver, steps) {
  const judged = steps.map((step) => ({
    ...step,
    kernel,
    driver,
    reason: step.failed ? reasonFor({ kernel, driver, ...step }) : undefined,
  }))
  return { kernel, driver, steps: judged, unexpected: judged.filter(({ failed, reason }) => failed && !reason) }
}

function reasonFor(step) {
  const fits = ({ says = /(?:)/, ...row }) =>
    says.test(step.text) &&
    ['kernel', 'driver', 'mode', 'step'].every((key) => row[key] === undefined || row[key] === step[key])
  return quirks.find(fits)?.reason
}

/** A row for each kernel, driver and mode; then what failed, and why, where that is known. */
export function report(runs) {
  const rows = runs.flatMap(({ kernel, driver, steps }) =>
    [...new Set(steps.map(({ mode }) => mode))]
      .filter((mode) => mode !== '-')
      .map((mode) => [kernel, driver, mode, ...COLUMNS.map((column) => cell(steps, mode, column))]),
  )
  const failed = runs.flatMap(({ steps }) => steps.filter((step) => step.failed))
  const line = ({ kernel, driver, mode, step, text, reason }) =>
    `- ${kernel}, ${driver}, ${mode}, ${step}: ${reason ?? `FAILED: ${text}`}`
  return [...markdown([['kernel', 'driver', 'mode', ...COLUMNS], ...rows]), '', ...failed.map(line)].join('\n')
}

/** `ok`, how many failed of how many, in parentheses if each of those is expected, or nothing if none was tried. */
function cell(steps, mode, column) {
  const own = steps.filter((step) => step.mode === mode && step.step.split(':')[0] === column)
  const failed = own.filter((step) => step.failed)
  if (own.length === 0) return ''
  if (failed.length === 0) return 'ok'
  const count = `${failed.length} of ${own.length}`
  return failed.every(({ reason }) => reason) ? `(${count})` : count
}

function markdown([head, ...rows]) {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column].length)))
  const line = (row) => `| ${row.map((text, column) => text.padEnd(widths[column])).join(' | ')} |`
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)]
}
