import { Random } from '../programs/random.js'
import type { Conduct } from './bystander.js'
import type { AttackLab, Field, Wanted } from './field.js'

/** What somebody without rights tries, and how the one that it would hurt tells. */
export interface Attack {
  /** As on the command line. */
  readonly name: string
  /** What has to stop it. */
  readonly defence: string
  /** How the daemon is started; its grants are those of `parties.ts` unless set. */
  readonly daemon?: Wanted
  /** Variants that show something of each kind; 2 unless set. */
  readonly variants?: number
  /** It takes minutes, or delays openings of others too long: `npm run attack` alone performs it. */
  readonly isLong?: boolean
  /** Sets up attackers and victims. */
  prepare(field: Field): Promise<Attempt>
}

/** An attack that is set up. */
export interface Attempt {
  /** Tries once, in a way that chance chooses; what was tried. */
  variant(random: Random): Promise<string>
  /** What the victim saw of that. */
  judge(): Promise<Judgement>
}

export interface Judgement {
  /** In words, what the victim saw; of the last variant that is what is shown. */
  saw: string
  /** What got through; empty if nothing did. */
  faults: string[]
}

export interface Outcome {
  attack: string
  variants: number
  tried: string
  saw: string
  /** What got through, each with the variant's number. */
  faults: string[]
  /** How a good client fared beside it. */
  beside: Conduct
  seconds: number
}

/** How often an attack is tried that says nothing of it. */
const VARIANTS = 2
/** More of the same kind tell nothing new. */
const MOST_FAULTS = 5

/** Performs an attack, beside a good client. */
export async function perform(
  attackLab: AttackLab,
  attack: Attack,
  seed: number,
  variants = attack.variants ?? VARIANTS,
): Promise<Outcome> {
  const began = performance.now()
  const outcome = { attack: attack.name, variants: 0, tried: 'nothing', saw: 'nothing', faults: [] as string[] }
  const field = await attackLab.take(attack.daemon)
  try {
    await field.bystander.begin()
    const attempt = await attack.prepare(field)
    do {
      const number = outcome.variants++
      outcome.tried = await attempt.variant(new Random((seed + number * 0x9e37_79b1) >>> 0))
      const { saw, faults } = await attempt.judge()
      outcome.saw = saw
      outcome.faults.push(...faults.map((fault) => `variant ${number}, ${outcome.tried}: ${fault}`))
    } while (outcome.variants < variants && outcome.faults.length < MOST_FAULTS)
    const beside = await field.bystander.end()
    outcome.faults.push(...beside.faults)
    outcome.faults.push(...(await attackLab.giveBack(field, outcome.faults.length === 0)))
    return { ...outcome, beside, seconds: (performance.now() - began) / 1000 }
  } catch (error) {
    // What was found before still counts, and the daemon's log may say why it came to this.
    const told = [...outcome.faults, `${attack.name}, variant ${outcome.variants - 1}: ${(error as Error).message}`]
    const log = field.daemon.program.lines.slice(-20)
    await attackLab.giveBack(field, false).catch((also: Error) => told.push(also.message))
    throw new Error([...told, ...log].join('\n'), { cause: error })
  }
}

/** One line. */
export function shown({ attack, variants, tried, saw, faults, beside, seconds }: Outcome): string {
  return [
    `${faults.length === 0 ? 'held' : 'NOT HELD'}  ${attack}: ${variants} variants, the last: ${tried}`,
    `the victim saw ${saw}`,
    `beside it ${beside.words}`,
    `${seconds.toFixed(1)} s`,
  ].join('; ')
}
