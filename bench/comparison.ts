// What a measurement is made of, and how its rounds are taken.
import { median } from './statistics.js'
import type { Undo } from './undo.js'

/** What a ratio is to be, at least and if all goes well. */
export interface Bound {
  least: number
  goal: number
}

/** A figure of both sides, and what it has to come to. */
export interface Row {
  name: string
  /** How both sides wait for the next packet, where the figure is about that. */
  regime?: 'busy' | 'asleep'
  unit: string
  better: 'more' | 'less'
  /** The least ratio, and the one that we are after. None: it is shown for what it is. */
  bound?: Bound
}

/**
 * What one side came to in one round: figures by the names of the rows, and whatever explains them, by what it is
 * called.
 */
export interface Reading {
  figures: Record<string, number>
  aside?: Record<string, number>
}

/** A turn of either side. */
export interface Contest {
  ours(): Promise<Reading>
  peer(): Promise<Reading>
  /** What is to be told once all rounds are over: costs, which are counted in runs of their own. */
  afterwards?(): Promise<string[]>
}

/** Something that holds or does not, without a peer. */
export interface Claim {
  name: string
  value: number
  unit: string
  /** The most that it may be. */
  most?: number
}

/** Rows that are measured together. */
export interface Family {
  /** The first word of its rows' names. */
  rows: readonly Row[]
  /** Sets up the place, and shows that what each side counts is whole. Their processes start with each turn. */
  prepare(settings: Settings): Promise<Contest>
}

/** A measurement without a peer. */
export interface Check {
  name: string
  measure(settings: Settings): Promise<Claim[]>
}

export interface Settings {
  rounds: number
  /** Of each side's part of a round. */
  seconds: number
  /** Slots of each ring of both sides; what a port has by default unless set. */
  ringSize?: number
  undo: Undo
}

/** What all rounds came to. */
export interface Measured {
  row: Row
  ours: number[]
  peer: number[]
}

export interface Outcome {
  measured: Measured[]
  /** Medians over the rounds, of both sides. */
  aside: { ours: Record<string, number>; peer: Record<string, number> }
}

type Name = 'ours' | 'peer'

/**
 * Takes the rounds: both sides one after the other, who begins taking turns. One more before, which does not count,
 * warms up.
 */
export async function contest(
  { rows }: Family,
  prepared: Contest,
  rounds: number,
  told: (round: number) => void,
): Promise<Outcome> {
  const readings: Record<Name, Reading[]> = { ours: [], peer: [] }
  for (let round = -1; round < rounds; round++) {
    const order: Name[] = round % 2 === 0 ? ['ours', 'peer'] : ['peer', 'ours']
    for (const side of order) {
      const reading = await prepared[side]()
      if (round >= 0) readings[side].push(reading)
    }
    told(round + 1)
  }
  const figures = (side: Name, { name }: Row) => readings[side].map((reading) => reading.figures[name] as number)
  return {
    measured: rows.map((row) => ({ row, ours: figures('ours', row), peer: figures('peer', row) })),
    aside: { ours: medians(readings.ours), peer: medians(readings.peer) },
  }
}

function medians(readings: readonly Reading[]): Record<string, number> {
  const names = Object.keys(readings[0]?.aside ?? {})
  return Object.fromEntries(names.map((name) => [name, median(readings.map(({ aside }) => aside?.[name] as number))]))
}
