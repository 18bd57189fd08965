// Medians and their ratio, with the interval that a bootstrap gives it.

/** Of both sides of a comparison, a figure of each round: those of the same index were taken one after the other. */
export interface Pairs {
  ours: readonly number[]
  peer: readonly number[]
}

export interface Ratio {
  ratio: number
  /** 95 of 100 resampled ratios lie from here … */
  low: number
  /** … to here. */
  high: number
}

/** The middle one, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** The value below which a part of all lie: the nearest of them, none in between. */
export function quantile(values: ArrayLike<number>, part: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

/** How far the values lie apart, in parts of their median. */
export function spread(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values)
}

/**
 * The ratio of the medians, above 1 where ours is better, and its 95 % interval: whole rounds are drawn with
 * replacement, both sides' figures of a round together, so that what disturbed both counts for neither. /
 */
export function compare({ ours, peer }: Pairs, better: 'more' | 'less', resamples = 10_000): Ratio {
  const rounds = Math.min(ours.length, peer.length)
  const ratioOf = (a: readonly number[], b: readonly number[]) =>
    better === 'more' ? median(a) / median(b) : median(b) / median(a)
  const random = generator(rounds)
  const [a, b] = [new Array<number>(rounds), new Array<number>(rounds)]
  const ratios = new Float64Array(resamples)
  for (let sample = 0; sample < resamples; sample++) {
    for (let i = 0; i < rounds; i++) {
      const round = Math.floor(random() * rounds)
      a[i] = ours[round] as number
      b[i] = peer[round] as number
    }
    ratios[sample] = ratioOf(a, b)
  }
  return { ratio: ratioOf(ours, peer), low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) }
}

/**
 * From 0 up to, but not 1; the same numbers each time, so that the same figures give the same interval (mulberry32).
 */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
