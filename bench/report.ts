// The figures as a table, as JSON and as Markdown.
import type { Claim, Measured, Row } from './comparison.js'
import { lines, type Machine } from './machine.js'
import { compare, median, spread } from './statistics.js'

/** A row as it stands in the JSON. */
export interface ReportRow {
  name: string
  regime?: 'busy' | 'asleep'
  ours: number
  peer: number
  unit: string
  ratio: number
  low: number
  high: number
  rounds: number
}

export interface Report {
  benchmark: 'xsknet'
  rows: ReportRow[]
  /** What has no peer. */
  claims: Claim[]
  machine: Machine
}

export function rowOf({ row, ours, peer }: Measured): ReportRow {
  const { name, regime, unit, better } = row
  const figures = {
    ours: median(ours),
    peer: median(peer),
    unit,
    ...compare({ ours, peer }, better),
    rounds: ours.length,
  }
  return { name, ...(regime && { regime }), ...figures }
}

const label = ({ name, regime }: ReportRow) => (regime ? `${name} (${regime})` : name)

const WIDTHS = [20, 12, 12, 11, 7, 15, 14] as const

export const head = () => cells('', 'ours', 'peer', 'unit', 'ratio', '95 %', 'least / goal')

/** A row of the table on a terminal. */
export function line(measured: Measured): string {
  const row = rowOf(measured)
  const { bound } = measured.row
  const text = cells(
    label(row),
    figure(row.ours),
    figure(row.peer),
    row.unit,
    row.ratio.toFixed(3),
    `${row.low.toFixed(3)} – ${row.high.toFixed(3)}`,
    bound ? `${bound.least} / ${bound.goal}` : 'no bound',
  )
  const missed = bound && row.ratio < bound.least ? '  MISSED' : ''
  return `${text}  spread ${percent(spread(measured.ours))} / ${percent(spread(measured.peer))}${missed}`
}

export function claimLine({ name, value, unit, most }: Claim): string {
  const missed = most !== undefined && value > most ? '  MISSED' : ''
  return `${name}: ${figure(value)} ${unit}${most === undefined ? '' : ` (at most ${figure(most)})`}${missed}`
}

/** The document's table, and below it the machine. */
export function markdown(report: Report, rows: readonly Row[]): string {
  const bounds = new Map(rows.map(({ name, bound }) => [name, bound]))
  const table = report.rows.map((row) => {
    const bound = bounds.get(row.name)
    const interval = `${row.low.toFixed(2)} – ${row.high.toFixed(2)}`
    const wanted = bound ? `${bound.least} / ${bound.goal}` : '–'
    return (
      `| ${label(row)} | ${figure(row.ours)} | ${figure(row.peer)} | ${row.unit} | ` +
      `${row.ratio.toFixed(2)} | ${interval} | ${wanted} |`
    )
  })
  return [
    '| row | ours | peer | unit | ratio | 95 % | least / goal |',
    '| --- | ---: | ---: | --- | ---: | --- | --- |',
    ...table,
    '',
    ...report.claims.map((claim) => `- ${claimLine(claim)}`),
    '',
    ...lines(report.machine).map((text) => `${text}.  `),
    `${report.rows[0]?.rounds ?? 0} rounds.`,
    '',
  ].join('\n')
}

/** Four digits that count. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en')
  return `${Number(value.toPrecision(4))}`
}

export const percent = (part: number) => `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`

function cells(...texts: string[]): string {
  return texts.map((text, at) => (at === 0 ? text.padEnd(WIDTHS[0]) : text.padStart(WIDTHS[at] ?? 0))).join(' ')
}
