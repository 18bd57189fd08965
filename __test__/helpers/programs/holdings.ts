// Which ports a client held when, and which frames it therefore may have.

/** When a port was held: from the request that claimed it to the answer to the one that gave it back. */
interface Holding {
  from: number
  to: number
  /** Whether the daemon has confirmed the claim. */
  isCertain: boolean
  /** Frames that only this holding explains, as long as it is not certain. */
  frames: number
}

/** UDP ports from a first one on, each held at some times. Times are nanoseconds. */
export class Holdings {
  readonly #first: number
  readonly #ports: Holding[][]

  constructor(first: number, ports: number) {
    this.#first = first
    this.#ports = Array.from({ length: ports }, () => [])
  }

  /** The ports that are held now, for certain. */
  held(): number[] {
    return this.#ports.flatMap((holdings, n) => {
      const last = holdings.at(-1)
      return last?.isCertain && last.to === Infinity ? [this.#first + n] : []
    })
  }

  /** A claim of ports that are not held is asked for. */
  ask(ports: readonly number[], now: number): void {
    for (const port of ports) this.#of(port)?.push({ from: now, to: Infinity, isCertain: false, frames: 0 })
  }

  /** It was granted. */
  confirm(ports: readonly number[]): void {
    for (const port of ports) {
      const last = this.#of(port)?.at(-1)
      if (last) last.isCertain = true
    }
  }

  /** It was refused, so the ports were never held: the number of frames that came nevertheless. */
  refuse(ports: readonly number[]): number {
    return ports.reduce((frames, port) => frames + (this.#of(port)?.pop()?.frames ?? 0), 0)
  }

  /** Ports are given back, says the answer that has just come. */
  end(ports: readonly number[], now: number): void {
    for (const port of ports) {
      const last = this.#of(port)?.at(-1)
      if (last) last.to = now
    }
  }

  /** Whether the port was held at any time between the sending of a frame and its arrival. */
  explains(port: number, sent: number, arrived: number): boolean {
    const holdings = this.#of(port) ?? []
    for (let n = holdings.length - 1; n >= 0; n--) {
      const holding = holdings[n] as Holding
      if (holding.from > arrived) continue
      if (holding.to < sent) return false // and so did all before
      if (holding.isCertain) return true
      // The one before may explain it as well, and would then be certain.
      const before = holdings[n - 1]
      if (before && before.to >= sent) return true
      holding.frames++
      return true
    }
    return false
  }

  #of(port: number): Holding[] | undefined {
    return this.#ports[port - this.#first]
  }
}
