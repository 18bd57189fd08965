import type { PortInfo } from 'xsknet'
import { Client } from '../client.js'
import type { Daemon } from '../daemon.js'
import { CARD, type Lab, portAddresses, portPrefixes } from '../lab.js'
import type { Times } from '../programs/attacker.js'
import { GOOD, PORTS } from './parties.js'

/** Milliseconds within which 99 of 100 requests of others are answered during an attack. */
export const PROMPT = 100
/** So many late answers say nothing yet. */
const FEW_LATE = 3
/**
 * A machine that is busy with something else answers later. How late without an attack is measured once, and an attack
 * may not make it much worse. On an idle machine this is far below {@link PROMPT}.
 */
const WORSE = 2
/** Questions that are judged together, one a millisecond. */
const QUESTIONS = 250
/** Fewer requests say nothing of a hundredth. */
const ENOUGH = 10

/** How the good client fared. */
export interface Conduct {
  words: string
  faults: string[]
}

/**
 * A client that keeps all rules: it answers numbered questions from the far end, and it opens, asks and closes ports
 * meanwhile. No more than a thousand questions come a second, so that what it waits for is the attack and not its own
 * load.
 */
export class Bystander {
  readonly #lab: Lab
  readonly #daemon: Daemon
  #answering: Client | undefined
  #asking: Client | undefined
  #info: PortInfo | undefined
  #questions: Promise<Questions> | undefined
  #ends = false
  /** Milliseconds that the slowest request took when nobody attacked. */
  static #calm: number | undefined
  #times: Promise<Times> | undefined

  constructor(lab: Lab, daemon: Daemon) {
    this.#lab = lab
    this.#daemon = daemon
  }

  /** Its port. */
  get info(): PortInfo {
    if (!this.#info) throw new Error('the client beside has no port yet')
    return this.#info
  }

  async #settle(): Promise<void> {
    if (this.#info) return
    const start = (): Client =>
      Client.start(this.#lab, '__test__/helpers/programs/attacker.ts', { socket: this.#daemon.socket, uid: GOOD })
    this.#answering = start()
    this.#asking = start()
    await Promise.all([this.#answering, this.#asking].map((client) => client.ask({ do: 'connect' })))
    this.#info = await this.#answering.ask<PortInfo>({ do: 'open', uplink: CARD, addresses: portPrefixes(PORTS.good) })
    await this.#answering.ask({ do: 'answer' })
  }

  /** Its port is open when this returns, and it asks for more from then on. */
  async begin(): Promise<void> {
    await this.#settle()
    Bystander.#calm ??= await this.#measure()
    this.#ends = false
    this.#questions = this.#ask()
    this.#questions.catch(() => {}) // told at the end
    this.#times = (this.#asking as Client).ask<Times>({
      do: 'time',
      uplink: CARD,
      addresses: portPrefixes(PORTS.opened),
    })
    this.#times.catch(() => {}) // told at the end
  }

  /** Stops, once it has asked often enough to judge by. */
  async end(): Promise<Conduct> {
    await (this.#asking as Client).ask({ do: 'stopTiming', enough: ENOUGH })
    const { opens, stats, failed } = await (this.#times as Promise<Times>)
    this.#ends = true
    const { asked, lost } = await (this.#questions as Promise<Questions>)
    const faults = []
    if (lost > 0) faults.push(`the client beside lost ${lost} of ${asked} questions or answers`)
    for (const [what, times] of [
      ['openPort', opens],
      ['stats()', stats],
    ] as const) {
      if (times.length === 0) faults.push(`no ${what} of the client beside was answered`)
      // Some of a few may be the turn of somebody else on two processors; who asks for longer has one in a hundred.
      const most = Math.max(PROMPT, WORSE * (Bystander.#calm ?? 0))
      const late = times.filter((time) => time > most)
      if (late.length > Math.max(FEW_LATE, times.length / 100)) {
        faults.push(
          `${late.length} of ${times.length} ${what} of the client beside took more than ${most.toFixed(0)} ms, ` +
            `the longest ${longest(times)}`,
        )
      }
    }
    if (failed.length > 0) faults.push(`${failed.length} requests of the client beside failed: ${failed[0]}`)
    const words = `${asked} answers due, ${lost} lost, openPort ${told(opens)}, stats() ${told(stats)}`
    return { words, faults }
  }

  async #measure(): Promise<number> {
    const asking = this.#asking as Client
    const times = asking.ask<Times>({ do: 'time', uplink: CARD, addresses: portPrefixes(PORTS.opened) })
    await asking.ask({ do: 'stopTiming', enough: ENOUGH })
    const { opens, stats } = await times
    return Math.max(...opens, ...stats)
  }

  async #ask(): Promise<Questions> {
    const questions = { asked: 0, lost: 0 }
    do {
      const unanswered = await this.#lab.remote.unanswered(portAddresses(PORTS.good)[0], QUESTIONS)
      questions.asked += QUESTIONS
      questions.lost += unanswered.length
    } while (!this.#ends)
    return questions
  }

  async leave(): Promise<void> {
    this.#ends = true
    await this.#questions?.catch(() => {})
    for (const client of [this.#answering, this.#asking]) if (client?.program.running) await client.kill()
  }
}

interface Questions {
  asked: number
  lost: number
}

const longest = (times: readonly number[]) => `${Math.max(...times).toFixed(0)} ms`

/** Median and p99. */
function told(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b)
  const at = (part: number) => sorted[Math.ceil(sorted.length * part) - 1]?.toFixed(0)
  return `${at(0.5)} ms, p99 ${at(0.99)} ms of ${times.length}`
}
