import { readFileSync } from 'node:fs'
import { parse, type TomlError } from 'smol-toml'
import * as v from 'valibot'
import { XsknetError } from 'xsknet'
import { slipIn } from 'xsknet/internal'
import { MAX_QUEUES } from 'xsknet/protocol'
import type { LogFormat } from '../log/log.js'
import type { UplinkMode } from '../platform/instance.js'
import { Range } from '../policy/address.js'
import type { MemoryBound } from '../policy/memory-limit.js'
import { type Grant, MAX_RING_SIZE, type Rates, RING_SIZE } from '../policy/policy.js'
import { type Accounts, systemAccounts } from './accounts.js'

/** What a user, or a group, may have, as it is written down. */
export interface GrantOptions {
  /** A name or a number. Either this or `group`. */
  user?: string | number
  /** A name or a number; supplementary groups count. */
  group?: string | number
  /** Cards on which ports may be opened. */
  uplinks: string[]
  /** Addresses and ranges that ports may have, such as `192.0.2.8/29`. */
  addresses: string[]
  /** VLANs; only untagged frames unless set. */
  vlans?: (number | 'untagged')[]
  /** The most ports of one user at once: 1 unless set. */
  ports?: number
  /** The most queues of one port, 1 to 8: 1 unless set. Each has an UMEM of its own, which counts in `memory`. */
  queues?: number
  /**
   * The most slots of each ring of their ports, a power of two: 4096 unless set. A client has the kernel send a whole ring in one call, and
   * on a kernel that is not preemptible everybody's openings wait for that: 65,536 frames take some 0.2 s.
   */
  ringSize?: number
  /** The most memory of one user's ports at once, in bytes or like `64MiB`: 16 MiB unless set. */
  memory?: string | number
  /**
   * Whether these users may open pinned ports, for which they make the socket themselves: false unless set. Such a port's memory is
   * locked by the user's own programs and does not count in `memory`.
   */
  pinned?: boolean
  /**
   * Whether their ports may send frames with VLAN tags within the port's own, or within none: false unless set. A switch whose native VLAN
   * is the port's takes the outer tag away, and the frame goes on in the VLAN of the inner one.
   */
  innerTags?: boolean
  /**
   * Whether their ports may send what steers the traffic of others: IP source routing options and routing headers, VRRP, OSPF, queries of
   * IGMP and MLD, multicast router discovery. False unless set.
   */
  routing?: boolean
  /** Whether they may ask for `busyPoll`, for which the kernel spends the host's processors: false unless set. */
  busyPoll?: boolean
  /** Whether they may ask for `hugePages`, which the host has few of and other services may need: false unless set. */
  hugePages?: boolean
  /** How many frames a second each port may send that every station gets, or many do; a burst may have as many as a second. */
  rates?: {
    /** To all stations: 1000 unless set. */
    broadcast?: number | 'unlimited'
    /** To groups: 1000 unless set. */
    multicast?: number | 'unlimited'
    /** To MACs from which nothing has come for five minutes, which switches send to all ports: 1000 unless set. */
    unknownUnicast?: number | 'unlimited'
  }
}

/** All that a daemon has to be told. */
export interface Configuration {
  readonly uplinks: readonly string[]
  readonly mode: UplinkMode
  /** One that nobody else has, unless set. */
  readonly instance: string | undefined
  /** {@link socketOf} the instance, unless set. */
  readonly socket: string | undefined
  readonly log: LogFormat
  /** The most memory of all ports together. */
  readonly memory: Partial<MemoryBound> & Pick<MemoryBound, 'key'>
  readonly grants: readonly Grant[]
}

/** What stands in `[daemon]`, and may stand on the command line too. */
export interface Settings {
  uplinks?: string[] | undefined
  mode?: UplinkMode | undefined
  instance?: string | undefined
  socket?: string | undefined
  log?: LogFormat | undefined
  /**
   * The most memory of all ports together, root's and those that are closed but held still among them, in bytes or like `8GiB`: half of what
   * is available at the start unless set. The memory of pinned ports is their users' own, and does not count.
   */
  memory?: string | number | undefined
}

/** Where the clients of an instance find its daemon. */
export const socketOf = (instance: string) => `/run/xsknet/${instance}.sock`

const many = <T extends v.GenericSchema>(item: T, what: string) =>
  v.pipe(v.array(item, `it has to be ${what}`), v.minLength(1, `it has to be ${what}, and not empty`))
const device = v.pipe(
  v.string("it has to be a card's name in quotes"),
  v.regex(/^[^\s/]{1,15}$/, "it has to be a card's name of 1 to 15 characters, without spaces and `/`"),
)
const devices = v.pipe(
  many(device, 'a list of cards, such as ["eth0"]'),
  // Nobody means a card twice: one of them was to be another.
  v.check(
    (names) => new Set(names).size === names.length,
    ({ input }) => `it names the card ${input.find((name, at) => input.indexOf(name) < at)} twice`,
  ),
)
const wanted = <T extends string>(...values: T[]) =>
  v.picklist(values, `it has to be ${values.map((value) => `"${value}"`).join(' or ')}`)
const mode = wanted('unspecified', 'native', 'skb', 'hw')
const log = wanted('text', 'json')
const path = v.pipe(
  v.string('it has to be a path in quotes'),
  v.regex(/^\//, 'it has to be a path from the root, such as "/run/xsknet/x.sock"'),
)
const instance = v.pipe(
  v.string('it has to be a name in quotes'),
  v.regex(/^[\w-]{1,32}$/, 'it has to be 1 to 32 letters, digits, `-` and `_`'),
)

const whole = (value: unknown, least: number, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most

const memory = v.pipe(
  v.custom<string | number>(
    (value) => whole(toBytes(value as string | number), 1, Number.MAX_SAFE_INTEGER),
    'it has to be a number of bytes from 1 on, or one like "64MiB" (B, KiB, MiB, GiB)',
  ),
  v.transform(toBytes),
)

const settings = v.strictObject({
  uplinks: v.optional(devices),
  mode: v.optional(mode),
  instance: v.optional(instance),
  socket: v.optional(path),
  log: v.optional(log),
  memory: v.optional(memory),
})

const account = v.custom<string | number>(
  (value) => (typeof value === 'string' && value !== '') || whole(value, 0, 0xffff_fffe),
  'it has to be a name in quotes or a number',
)
const vlan = v.custom<number | 'untagged'>(
  (value) => value === 'untagged' || whole(value, 1, 4094),
  'it has to be "untagged" or a number from 1 to 4094',
)
const ports = v.custom<number>((value) => whole(value, 1, 0xffff), 'it has to be a number from 1 to 65535')
const queues = v.custom<number>((value) => whole(value, 1, MAX_QUEUES), `it has to be a number from 1 to ${MAX_QUEUES}`)
const ringSize = v.custom<number>(
  (value) => whole(value, 1, MAX_RING_SIZE),
  `it has to be a number from 1 to ${MAX_RING_SIZE}`,
)
const yes = v.boolean('it has to be true or false')
/** Frames a second that a port may send of each kind, unless it is said. */
const RATE = 1000
const rate = v.optional(
  v.custom<number | 'unlimited'>(
    (value) => value === 'unlimited' || whole(value, 0, 0xffff_ffff),
    'it has to be a number of frames a second from 0 to 4294967295, or "unlimited"',
  ),
  RATE,
)
const rates = v.pipe(
  v.optional(
    v.strictObject(
      { broadcast: rate, multicast: rate, unknownUnicast: rate },
      'it has to be a table: { broadcast = 1000 }',
    ),
    {},
  ),
  v.transform((rates): Rates => Object.fromEntries(Object.entries(rates).filter(([, value]) => value !== 'unlimited'))),
)

function toBytes(value: string | number): number {
  if (typeof value !== 'string') return value
  const [, count, unit = ''] = /^(\d{1,15}) ?(B|KiB|MiB|GiB)$/.exec(value) ?? []
  return Number(count) * 2 ** (10 * ['B', 'KiB', 'MiB', 'GiB'].indexOf(unit))
}

/** Names become numbers and texts become ranges while they are read, so that every error has its place in the file. */
const grantSchema = (accounts: Accounts) => {
  const named = (kind: 'user' | 'group', file: string) =>
    v.pipe(
      account,
      v.rawTransform(({ dataset, addIssue, NEVER }) => {
        const id = typeof dataset.value === 'number' ? dataset.value : accounts[kind](dataset.value)
        if (id !== undefined) return id
        addIssue({
          message: `there is no ${kind} \`${dataset.value}\` in ${file}; only that file is read, so give the number of a ${kind} from elsewhere`,
        })
        return NEVER
      }),
    )
  const range = v.pipe(
    v.string('it has to be an address or a range in quotes, such as "192.0.2.8/29"'),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      try {
        const range = new Range(dataset.value)
        if (range.useless === undefined) return range
        addIssue({
          message: `\`${dataset.value}\` is ${range.useless}, which no port may have: grant addresses of the card's network`,
        })
        return NEVER
      } catch (error) {
        const { message, hint } = error as XsknetError
        addIssue({ message: `${message}. ${hint}` })
        return NEVER
      }
    }),
  )
  return v.pipe(
    v.strictObject({
      user: v.optional(named('user', '/etc/passwd')),
      group: v.optional(named('group', '/etc/group')),
      uplinks: devices,
      addresses: many(range, 'a list of addresses and ranges, such as ["192.0.2.8/29"]'),
      vlans: v.optional(many(vlan, 'a list of VLANs, such as [42, "untagged"]'), ['untagged']),
      ports: v.optional(ports, 1),
      queues: v.optional(queues, 1),
      ringSize: v.optional(ringSize, RING_SIZE),
      memory: v.optional(memory, 16 * 2 ** 20),
      pinned: v.optional(yes, false),
      innerTags: v.optional(yes, false),
      routing: v.optional(yes, false),
      busyPoll: v.optional(yes, false),
      hugePages: v.optional(yes, false),
      rates,
    }),
    v.check(
      ({ user, group }) => (user === undefined) !== (group === undefined),
      'it has to name either a `user` or a `group`',
    ),
  )
}

/**
 * Reads the configuration file, if there is one, and puts what was given otherwise above it.
 *
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`, with file, line and key.
 */
export function readConfiguration(
  above: Settings,
  file?: string,
  accounts: Accounts = systemAccounts(),
): Configuration {
  const source = file === undefined ? undefined : readSource(file)
  const schema = v.strictObject({
    daemon: v.optional(settings, {}),
    grant: v.optional(v.array(grantSchema(accounts), 'it has to be a list of tables: [[grant]]'), []),
  })
  const { daemon, grant } = check(schema, source?.content ?? {}, source)
  const flags = check(settings, given(above), undefined, ([key]) => (key === 'uplinks' ? '--uplink' : `--${key}`))
  const names = {
    memory: '`memory` under [daemon] of the configuration',
    grant: (at: number) => `${nthGrant(at)} of ${file}`,
  }
  return settle({ instance: 'default', ...daemon, ...flags }, grant, names)
}

/**
 * The same from a program's own objects.
 *
 * @throws {XsknetError} `ERR_XSKNET_CONFIGURATION_INVALID`, with the key.
 */
export function checkConfiguration(
  options: Settings & { grants?: GrantOptions[] | undefined },
  accounts = systemAccounts(),
): Configuration {
  const schema = v.strictObject({
    ...settings.entries,
    grants: v.optional(v.array(grantSchema(accounts), 'it has to be a list'), []),
  })
  const { grants, ...daemon } = check(schema, given(options))
  const names = { memory: '`memory` of the daemon’s options', grant: (at: number) => `\`grants[${at}]\`` }
  return settle(daemon, grants, names)
}

type CheckedGrant = v.InferOutput<ReturnType<typeof grantSchema>>

/** Where things were written down, for people. */
interface Names {
  readonly memory: string
  readonly grant: (at: number) => string
}

/** Settings that were found good. */
type CheckedSettings = v.InferOutput<typeof settings>

function settle(
  { uplinks = [], mode = 'unspecified', instance, socket, log = 'text', memory }: CheckedSettings,
  grants: CheckedGrant[],
  names: Names,
): Configuration {
  if (uplinks.length === 0) {
    throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', 'no card was given for the daemon to manage', {
      hint: 'Give --uplink eth0, or uplinks = ["eth0"] under [daemon] of the configuration.',
      details: { key: 'uplinks' },
    })
  }
  return {
    uplinks: [...new Set(uplinks)],
    mode,
    instance,
    socket: socket ?? (instance === undefined ? undefined : socketOf(instance)),
    log,
    memory: { ...(memory !== undefined && { most: memory }), key: names.memory },
    grants: grants.map(({ user, group, ...grant }, at) => {
      const holder = user === undefined ? { gid: group as number } : { uid: user }
      return { ...grant, holder, origin: names.grant(at) }
    }),
  }
}

interface Source {
  readonly file: string
  readonly text: string
  readonly content: unknown
}

function readSource(file: string): Source {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `the configuration ${file} cannot be read`, {
      hint: hintToRead(file, (cause as NodeJS.ErrnoException).code),
      details: { file },
      cause,
    })
  }
  try {
    return { file, text, content: parse(text) }
  } catch (cause) {
    const { line, message } = cause as TomlError
    const [what = ''] = message.replace(/^Invalid TOML document: /, '').split('\n')
    throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `${file}:${line} is no TOML: ${what}`, {
      hint: EXAMPLE,
      details: { file, line },
    })
  }
}

function check<T>(schema: v.GenericSchema<unknown, T>, value: unknown, source?: Source, name = keyOf): T {
  const { success, output, issues } = v.safeParse(schema, value, { abortEarly: true })
  if (success) return output
  const [issue] = issues
  const { path = [], message, input } = issue
  const slip = slipIn(schema, issue)
  const keys = slip?.path ?? path.map(({ key }) => key as string | number)
  const key = name(keys)
  const line = source && lineOf(source.text, keys)
  const where = source ? `${source.file}${line === undefined ? '' : `:${line}`}: ` : ''
  const what = source ? placeOf(keys) : `\`${key}\``
  const unknown = slip && `there is no such key${slip.meant === undefined ? '' : `; did you mean \`${slip.meant}\`?`}`
  const why = unknown ?? (input === undefined ? 'it is missing' : message)
  throw new XsknetError('ERR_XSKNET_CONFIGURATION_INVALID', `${where}${what}: ${why}`, {
    hint: slip ? `The keys there are ${slip.known.join(', ')}. ${EXAMPLE}` : EXAMPLE,
    details: { key, ...(source && { file: source.file }), ...(line !== undefined && { line }) },
  })
}

/** For whoever has the program and not its documentation. */
const EXAMPLE = '`xsknetd --help` shows a whole configuration.'

function hintToRead(file: string, code: string | undefined): string {
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return `There is no such file; a path that does not begin with / is looked for from ${process.cwd()} on.`
    case 'EACCES':
    case 'EPERM':
      return `Give this user (${process.geteuid?.()}) the right to read it, and to search the folders above it.`
    case 'EISDIR':
      return `It is a folder: name the file in it, such as ${file.replace(/\/*$/, '')}/xsknetd.toml.`
    case 'EMFILE':
    case 'ENFILE':
      return 'Too many files are open: raise the limit (`ulimit -n`, LimitNOFILE=).'
    default:
      return 'The cause says what the system refused.'
  }
}

/** For people, as a file has it: `addresses[1]` of the 1st [[grant]]. */
function placeOf([table, nth, ...keys]: (string | number)[]): string {
  if (table !== 'grant' || typeof nth !== 'number')
    return `\`${keyOf([table as string, ...(nth === undefined ? [] : [nth]), ...keys])}\``
  return keys.length === 0 ? nthGrant(nth) : `\`${keyOf(keys)}\` of ${nthGrant(nth)}`
}

function nthGrant(at: number): string {
  return `the ${ordinal(at + 1)} [[grant]]`
}

/** `grant[0].addresses[1]`. */
function keyOf(path: (string | number)[]): string {
  return path.reduce<string>(
    (key, next) => (typeof next === 'number' ? `${key}[${next}]` : key ? `${key}.${next}` : next),
    '',
  )
}

/**
 * Where a key stands, for people: the line of the last key of the path that can be found below its table's header. Files that
 * are written in another way than with such headers get no line, or that of the table.
 */
function lineOf(text: string, [table, ...keys]: (string | number)[]): number | undefined {
  const lines = text.split('\n')
  const nth = typeof keys[0] === 'number' ? (keys.shift() as number) : 0
  const header = new RegExp(`^\\s*\\[{1,2}\\s*${escaped(table)}\\s*\\]`)
  const starts = lines.flatMap((line, at) => (header.test(line) ? [at] : []))
  const start = starts[nth]
  if (start === undefined) return undefined
  const after = lines.findIndex((line, at) => at > start && /^\s*\[{1,2}\s*[a-z]\w*\s*\]{1,2}\s*(#.*)?$/i.test(line))
  const end = after === -1 ? lines.length : after
  const entry = new RegExp(`^\\s*"?${escaped(keys[0])}"?\\s*=`)
  const found = keys.length === 0 ? -1 : lines.findIndex((line, at) => at > start && at < end && entry.test(line))
  return (found === -1 ? start : found) + 1
}

function escaped(key: unknown): string {
  return String(key).replace(/[^\w-]/g, '\\$&')
}

function given<T extends object>(settings: T): Partial<T> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as Partial<T>
}

function ordinal(nth: number): string {
  const rest = nth % 100 > 10 && nth % 100 < 14 ? 'th' : (['th', 'st', 'nd', 'rd'][nth % 10] ?? 'th')
  return `${nth}${rest}`
}
