// The programs that users begin with, run without a daemon: what they answer, and what they leave alone.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import test from 'ava'
import { build } from 'esbuild'
import { parseMac, udp } from 'xsknet/headers'
import { programsOf, root } from '../../helpers/workspace.js'
import * as p from './packets.js'

/** A frame of a batch, as far as these programs use it. */
class Frame extends p.Held {
  readonly #sent: Buffer[]
  readonly #view: DataView

  constructor(bytes: Buffer, sent: Buffer[]) {
    super(bytes)
    this.#sent = sent
    this.#view = new DataView(this.memory.buffer, this.offset, this.capacity)
  }

  uint8 = (at: number) => this.#view.getUint8(at)
  uint16 = (at: number) => this.#view.getUint16(at)
  setUint16 = (at: number, value: number) => this.#view.setUint16(at, value)
  setUint32 = (at: number, value: number) => this.#view.setUint32(at, value)

  send(): boolean {
    this.#sent.push(this.bytes)
    return true
  }
}

/** Where a program's `connect()` leads while it runs. */
const here = globalThis as { connectHere?: () => Promise<object> }
const FAKE = 'export const connect = () => globalThis.connectHere()'

const folder = mkdtempSync(join(tmpdir(), 'xsknet-programs-'))
test.after.always(() => rmSync(folder, { recursive: true }))
let count = 0

/** Where it can be imported from. */
async function bundled(source: { path: string } | { text: string }): Promise<string> {
  const outfile = join(folder, `${count++}.mjs`)
  const entry =
    'path' in source
      ? { entryPoints: [`${root}${source.path}`] }
      : { stdin: { contents: source.text, loader: 'ts' as const, resolveDir: root } }
  await build({
    ...entry,
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    logLevel: 'silent',
    plugins: [
      {
        name: 'no daemon',
        setup({ onResolve, onLoad }) {
          onResolve({ filter: /^xsknet$/ }, () => ({ path: 'xsknet', namespace: 'fake' }))
          onLoad({ filter: /./, namespace: 'fake' }, () => ({ contents: FAKE }))
          onResolve({ filter: /^xsknet\/headers$/ }, ({ path }) => ({ path: fileURLToPath(import.meta.resolve(path)) }))
        },
      },
    ],
  })
  return pathToFileURL(outfile).href
}

/** Runs a program to its end on a port to which these frames come; what it sends. */
async function run(program: string, frames: readonly Buffer[]): Promise<Buffer[]> {
  const sent: Buffer[] = []
  const port = {
    info: p.STATION.info,
    close: async () => {},
    async *batches() {
      yield frames.map((bytes) => new Frame(bytes, sent))
    },
  }
  const ended = new Promise<void>((end) => {
    here.connectHere = async () => ({ openPort: async () => port, close: async () => end() })
  })
  const { argv } = process
  const { log } = console
  const signals = ['SIGINT', 'SIGTERM', 'SIGUSR2'] as const
  const before = signals.map((signal) => process.listeners(signal))
  process.argv = [argv[0] ?? '', 'program', 'eth0', '192.0.2.10/24', '2001:db8::10/64']
  console.log = () => {}
  try {
    // Another address each time, or it would not run a second time.
    await import(`${program}?${count++}`)
    await ended
  } finally {
    process.argv = argv
    console.log = log
    for (const [n, signal] of signals.entries()) {
      for (const listener of process.listeners(signal))
        if (!before[n]?.includes(listener)) process.off(signal, listener)
    }
  }
  return sent
}

const query = (flags: string) => p.hex(`1234 ${flags} 0001 0000 0000 0000 01 61 00 0001 0001`)
const [QUESTION, ANSWER] = [query('0100'), query('8180')]

const datagrams = (ports: { sourcePort: number; destinationPort: number }, payload = p.payloadOf(40)) => {
  return [p.udp4({ ...ports, payload }), p.udp6({ ...ports, payload })]
}

const echoes = [1024, 40_000, 65_535].flatMap((sourcePort) => datagrams({ sourcePort, destinationPort: 7 }))
const queries = [1024, 40_000].flatMap((sourcePort) => datagrams({ sourcePort, destinationPort: 53 }, QUESTION))

/**
 * Each may be the answer of another server, perhaps of one that runs the same program; or was never sent by anybody.
 */
const loops = [
  ...[0, 1, 7, 13, 17, 19, 37, 53, 69, 123, 161, 514, 1023].flatMap((sourcePort) => [
    ...datagrams({ sourcePort, destinationPort: 7 }),
    ...datagrams({ sourcePort, destinationPort: 7 }, QUESTION),
    ...datagrams({ sourcePort, destinationPort: 53 }, QUESTION),
    ...datagrams({ sourcePort, destinationPort: 53 }, ANSWER),
  ]),
  ...datagrams({ sourcePort: 40_000, destinationPort: 53 }, ANSWER),
  ...['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01'].flatMap((text) => [
    p.udp4({ destinationPort: 7 }, { from: p.mac(text) }),
    p.udp4({ destinationPort: 7 }, { to: p.mac(text) }),
    p.udp6({ destinationPort: 7 }, { from: p.mac(text) }),
    p.echoRequest4({}, { from: p.mac(text) }),
    p.echoRequest6({}, { from: p.mac(text) }),
    p.arpFrame({}, { from: p.mac(text) }),
    p.solicitation({}, { from: p.mac(text) }),
  ]),
  ...['192.0.2.10', '192.0.2.255', '0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255'].map((text) => {
    return p.udp4({ destinationPort: 7, source: p.ip4Address(text) })
  }),
  p.udp6({ destinationPort: 7, source: p.OWN6 }),
  p.udp6({ destinationPort: 7, source: p.UNSPECIFIED }),
]

const ofPages = ['README.md', 'docs/queues.md'].flatMap((page) =>
  programsOf(page).flatMap((text, n) => {
    const isServer = text.includes('udp.') && text.includes('batches()') && !text.includes('worker_threads')
    return isServer ? [{ name: `program ${n + 1} of ${page}`, source: { text }, dns: false }] : []
  }),
)
const programs = [
  { name: 'examples/answer.ts', source: { path: 'examples/answer.ts' }, dns: true },
  { name: 'examples/echo.ts', source: { path: 'examples/echo.ts' }, dns: false },
  ...ofPages,
]

test('the README and docs/queues.md have a server each', (t) => t.is(ofPages.length, 2))

for (const { name, source, dns } of programs) {
  test.serial(`${name} answers clients, and nothing that a server may have sent`, async (t) => {
    const program = await bundled(source)
    const questions = dns ? [...echoes, ...queries] : echoes
    const answers = await run(program, questions)
    t.is(answers.length, questions.length)
    for (const [n, bytes] of answers.entries()) {
      const [question, answer] = [questions[n] as Buffer, p.held(bytes)]
      t.true(udp(answer)?.checksumOk)
      t.is(udp(answer)?.destinationPort, udp(p.held(question))?.sourcePort)
      t.is(bytes.readUIntBE(6, 6), parseMac(p.STATION.info.mac))
    }
    t.deepEqual(
      (await run(program, loops)).map((bytes) => bytes.toString('hex')),
      [],
    )
  })
}
