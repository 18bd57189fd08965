// Many clients in one that know no manners, and that look closely at what they are answered.
import { openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCodes } from 'xsknet'
import { descriptorsBeside, descriptorsOf, type Operation, readReply, readResult } from 'xsknet/protocol'
import { absurd, broken, decent, type Request, type Subject } from './mutations.js'
import { Random } from './random.js'
import { serve } from './serve.js'

interface Fuzz {
  socket: string
  seed: number
  seconds: number
  /** Connections at once. */
  parallel: number
  /** Decent requests, and first of them `hello`. */
  examples: Request[]
  uplink: string
  addresses: string[]
}

/** What came of it. */
interface Fuzzed {
  connections: number
  messages: number
  /** How often which code came as an answer, and for good ones which operation. */
  answers: Record<string, number>
  /** What the protocol does not allow the daemon, each with the seed of its connection. */
  faults: string[]
}

/** A message as its sender understands it. */
interface Sent {
  id: number | null
  operation: unknown
  bytes: Uint8Array
}

/** A part of the package that no program should need: it says what `connect()` never would. */
interface Binding {
  Control: {
    connect(
      path: string,
      onMessage: (message: Uint8Array, descriptors: { length: number; close(): void } | null) => void,
      onEnd: (error: Error | null) => void,
    ): { send(message: Uint8Array, fds: number[]): boolean; close(): void }
  }
}

const { platform, arch } = process
const file = new URL(`../native/xsknet.${platform}-${arch}-gnu.node`, import.meta.resolve('xsknet'))
const { Control } = createRequire(import.meta.url)(file.pathname) as Binding

/** Milliseconds for an answer: ports take their time, and others' ports come first. */
const PATIENCE = 15_000
/** Answers after which the daemon hangs up. */
const LAST_WORDS = [
  'MESSAGE_MALFORMED',
  'MESSAGE_TOO_LONG',
  'PROTOCOL_VERSION',
  'OPERATION_UNKNOWN',
  'HELLO_MISSING',
  'LIMIT_REACHED',
  'UNEXPECTED_DESCRIPTORS',
]

serve({ fuzz })

async function fuzz(order: Fuzz): Promise<Fuzzed> {
  const fuzzed: Fuzzed = { connections: 0, messages: 0, answers: {}, faults: [] }
  const until = performance.now() + order.seconds * 1000
  let next = 0
  const one = async () => {
    while (performance.now() < until && fuzzed.faults.length < 10)
      await converse(order, (order.seed + next++) >>> 0, fuzzed)
  }
  await Promise.all(Array.from({ length: order.parallel }, one))
  return fuzzed
}

/** One connection, from its beginning to whatever end. */
async function converse({ socket, examples, uplink, addresses }: Fuzz, seed: number, fuzzed: Fuzzed): Promise<void> {
  const random = new Random(seed)
  const ports: number[] = []
  const subject: Subject = { uplink, addresses, ports }
  const sent: Sent[] = []
  let answered = 0
  let ended = false
  let lastCode = ''
  let changed = () => {}

  const fault = (what: string) => {
    const about = sent[Math.min(answered, sent.length - 1)]
    const message = about ? Buffer.from(about.bytes.subarray(0, 512)).toString('latin1') : 'nothing'
    fuzzed.faults.push(`connection ${seed}: ${what}; ${sent.length} sent, ${answered} answered, next ${message}`)
  }
  const count = (what: string) => {
    fuzzed.answers[what] = (fuzzed.answers[what] ?? 0) + 1
  }

  const hear = (message: Uint8Array, descriptors: { length: number; close(): void } | null) => {
    let due = 0
    try {
      const reply = readReply(message)
      if ('event' in reply) {
        count(reply.event)
        return
      }
      const asked = sent[answered]
      if ('error' in reply) {
        const { code } = reply.error
        if (!Object.hasOwn(errorCodes, code)) fault(`the code ${code} is in no list`)
        if (code === 'ERR_XSKNET_INTERNAL') fault(`the daemon has a bug: ${JSON.stringify(reply.error)}`)
        // Nobody asked before it is refused a connection, or has taken too long.
        if (reply.id !== null && reply.id !== asked?.id) fault(`an answer to ${reply.id}, where ${asked?.id} was due`)
        lastCode = code
        // A veth has no MTU below 68; all else that the kernel could refuse should have been seen before.
        if (code === 'ERR_XSKNET_KERNEL_REFUSED' && reply.error.cause?.code !== 'EINVAL')
          fault(JSON.stringify(reply.error))
        count(code)
      } else {
        if (reply.id !== asked?.id) fault(`an answer to ${reply.id}, where ${asked?.id} was due`)
        const operation = asked?.operation as Operation
        const result = readResult(operation, reply.result)
        due = descriptorsBeside(result)
        if ('info' in result) ports.push(result.info.port)
        count(`ok ${operation}`)
      }
      if (reply.id !== null || asked) answered++
    } catch (error) {
      fault(
        `what came is not of the protocol: ${(error as Error).message}: ` +
          `${Buffer.from(message.subarray(0, 512)).toString('latin1')}`,
      )
    } finally {
      if ((descriptors?.length ?? 0) !== due) fault(`${descriptors?.length} descriptors came where ${due} are due`)
      descriptors?.close()
      changed()
    }
  }

  let control: ReturnType<Binding['Control']['connect']>
  try {
    control = Control.connect(socket, hear, (error) => {
      ended = true
      if (error) fault(`it ended with ${error.message}`)
      else if (!LAST_WORDS.some((word) => lastCode.endsWith(word)))
        fault(`it ended after ${lastCode || 'nothing was said'}`)
      changed()
    })
  } catch (error) {
    // Its queue of new connections is full.
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') fault(`connecting failed: ${(error as Error).message}`)
    await sleep(5)
    return
  }
  fuzzed.connections++

  /** Waits for news, with a deadline. */
  const until = async (what: string, holds: () => boolean) => {
    const deadline = performance.now() + PATIENCE
    while (!ended && !holds()) {
      if (performance.now() > deadline) {
        fault(`not ${what} within ${PATIENCE} ms`)
        return
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000)
        changed = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  const send = async (bytes: Uint8Array) => {
    if (bytes.length === 0) return // the end of a connection, not a message
    const understood = understand(bytes)
    const fds = companions(random, understood.operation)
    sent.push({ ...understood, bytes })
    fuzzed.messages++
    try {
      while (!ended && !control.send(bytes, fds)) await sleep(5)
    } catch (error) {
      // Not let in yet, or not at all: nobody takes its descriptors.
      if ((error as NodeJS.ErrnoException).code === 'EPERM' && fds.length > 0) {
        sent.pop()
        fuzzed.messages--
        return
      }
      await until('told why it was hung up on', () => false)
    }
  }

  const length = random.chance(0.01) ? 0 : 1 + random.below(12)
  const breaks = random.below(4) / 4
  for (let id = 1; id <= length && !ended; id++) {
    if (id === 1 && random.chance(0.9)) {
      await send(encoded({ ...examples[0], id }))
      continue
    }
    const request = decent(random, examples.slice(1), subject, id)
    if (random.chance(breaks)) await send(broken(random, request, random.pick(examples)))
    else await send(encoded(random.chance(0.5) ? absurd(random, request) : request))
    if (random.chance(0.5)) await until('answered', () => answered === sent.length)
  }
  // The others hang up whatever is still under way.
  if (random.chance(0.6)) await until('answered', () => answered === sent.length)
  control.close()
  // Those that were hung up have not all been cleared away.
  if (ended && lastCode === 'ERR_XSKNET_LIMIT_REACHED') await sleep(20)
}

/** A network namespace, which a pinned port takes, and what looks like one. */
const [namespace, lookalike] = ['net', 'mnt'].map((kind) => openSync(`/proc/self/ns/${kind}`, 'r')) as [number, number]

/** What goes beside a request: what it takes, most of the time. */
function companions(random: Random, operation: unknown): number[] {
  const known = operation === 'openPinnedPort' || operation === 'shareSocket'
  const right = known ? descriptorsOf(operation) : 0
  const count = random.chance(0.95) ? right : random.below(17)
  return Array.from({ length: count }, () => (random.chance(0.8) ? namespace : lookalike))
}

const encoded = (request: Request) => Buffer.from(JSON.stringify(request)).subarray(0, 65_536)
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function understand(bytes: Uint8Array): Omit<Sent, 'bytes'> {
  try {
    const { id, operation } = JSON.parse(utf8.decode(bytes))
    return { id: Number.isInteger(id) && id >= 0 && id <= 0xffff_ffff ? id : null, operation }
  } catch {
    return { id: null, operation: undefined }
  }
}
