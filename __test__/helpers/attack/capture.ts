import { readFileSync } from 'node:fs'
import { FAR, type Lab } from '../lab.js'
import type { Program } from '../program.js'
import { waitUntil } from '../program.js'

/** The frames that come to the wire's far end, as tcpdump writes them down. */
export class Capture {
  readonly #file: string
  #read = 24

  private constructor(file: string) {
    this.#file = file
  }

  static #number = 0

  static async start(lab: Lab, programs: Program[], but: readonly string[]): Promise<Capture> {
    const file = `${lab.folder}/far-${Capture.#number++}.pcap`
    // It stays root: the folder is root's.
    const words = [
      '-i',
      FAR,
      '-Q',
      'in',
      '-p',
      '-n',
      '-s',
      '2048',
      '-B',
      '8192',
      '--immediate-mode',
      '-U',
      '-Z',
      'root',
      '-w',
      file,
    ]
    const filter = but.map((mac) => `not ether src ${mac}`).join(' and ')
    const program = lab.remote.spawn('tcpdump', ...words, filter)
    programs.push(program)
    await program.waitFor(/listening on/)
    return new Capture(file)
  }

  /** Waits until a frame has come, and returns those before it that have not been returned yet. */
  async until(last: Uint8Array): Promise<Buffer[]> {
    const all: Buffer[] = []
    await waitUntil('captured at the far end', () => {
      const frames = this.#next()
      const at = frames.findIndex((frame) => frame.equals(last))
      for (const [n, frame] of frames.entries()) if (n !== at) all.push(frame)
      return at >= 0
    })
    return all
  }

  /** Those that were written down completely. */
  #next(): Buffer[] {
    const file = readFileSync(this.#file)
    const frames: Buffer[] = []
    while (this.#read + 16 <= file.length) {
      const length = file.readUInt32LE(this.#read + 8)
      const end = this.#read + 16 + length
      if (end > file.length) break
      frames.push(file.subarray(this.#read + 16, end))
      this.#read = end
    }
    return frames
  }
}
