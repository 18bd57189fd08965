import { setTimeout as sleep } from 'node:timers/promises'
import { checkOptions, checkSignal, wrongType, wrongValue } from '../arguments.js'
import { XsknetError } from '../errors.js'
import { adopt, adoptBeside, native } from '../platform/native.js'
import { Port } from '../port/port.js'
import type { Dial } from './conversation.js'
import { type MakePort, Network, sayHello } from './network.js'
import { DEFAULT_SOCKET } from './protocol.js'

/** Options of {@link connect}. */
export interface ConnectOptions {
  /** The path of the daemon's socket. Default: `$XSKNET_SOCKET`, else `/run/xsknet/default.sock`. */
  socket?: string | undefined
  /** Stops connecting; the call rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** Milliseconds for the daemon to accept one more connection. */
const ACCEPT_TIMEOUT_MS = 1000
/** Milliseconds between two attempts to connect. */
const ACCEPT_RETRY_MS = 20
/** Milliseconds for the daemon to answer `hello`. */
const HELLO_TIMEOUT_MS = 5000

/**
 * Connects to the daemon. Waits up to 1 second while the daemon has more new connections than it accepts at once, and
 * up to 5 seconds for its first answer.
 *
 * @throws {XsknetError} `ERR_XSKNET_DAEMON_ABSENT`, `ERR_XSKNET_NOT_PERMITTED`, `ERR_XSKNET_LIMIT_REACHED`,
 * `ERR_XSKNET_PROTOCOL_VERSION`, `ERR_XSKNET_UNSUPPORTED_PLATFORM`, or another error of the daemon.
 */
export async function connect(options: ConnectOptions = {}): Promise<Network> {
  checkOptions(options, ['socket', 'signal'])
  const { socket = process.env.XSKNET_SOCKET || DEFAULT_SOCKET, signal } = options
  if (typeof socket !== 'string') throw wrongType('options.socket', 'of type string', socket)
  if (socket === '' || socket.includes('\0')) throw wrongValue('options.socket', 'must be a path', socket)
  checkSignal(signal)
  signal?.throwIfAborted()

  const binding = native()
  const dial: Dial = (onMessage, onEnd) => binding.Control.connect(socket, onMessage, onEnd)
  const makePort: MakePort = (files, descriptions, info, control, { reservation, ...settings }) => {
    const descriptors = files as Parameters<typeof adopt>[0]
    const [description] = descriptions
    const beside = reservation && description && [adoptBeside(reservation, descriptors, description)]
    return new Port(beside ?? adopt(descriptors, descriptions), info, control, settings)
  }
  return connectOver(
    socket,
    dial,
    makePort,
    `xsknet/${binding.versions().binding} node/${process.versions.node}`,
    signal,
  )
}

/** As {@link connect}, over any transport. */
export async function connectOver(
  socket: string,
  dial: Dial,
  makePort: MakePort,
  client: string,
  signal?: AbortSignal,
): Promise<Network> {
  const network = await dialled(socket, () => new Network(socket, dial, makePort), signal)
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(silent(socket)), HELLO_TIMEOUT_MS)
  try {
    await sayHello(network, client, signal ? AbortSignal.any([signal, late.signal]) : late.signal)
    return network
  } catch (error) {
    await network.close()
    // A daemon that refuses a client sends the reason before it closes the connection.
    const why = error instanceof XsknetError && error.code === 'ERR_XSKNET_DAEMON_GONE' && error.cause
    throw why instanceof XsknetError ? why : error
  } finally {
    clearTimeout(timer)
  }
}

/** Retries for a bounded time: a daemon whose backlog of connections is full (`EAGAIN`) is about to accept them. */
async function dialled(socket: string, dial: () => Network, signal?: AbortSignal): Promise<Network> {
  for (let waited = 0; ; waited += ACCEPT_RETRY_MS) {
    try {
      return dial()
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'EAGAIN' || waited >= ACCEPT_TIMEOUT_MS) throw refused(socket, error as NodeJS.ErrnoException)
    }
    await sleep(ACCEPT_RETRY_MS, undefined, { ...(signal && { signal }) }).catch(() => signal?.throwIfAborted())
  }
}

function refused(socket: string, cause: NodeJS.ErrnoException): XsknetError {
  const details = { socket }
  switch (cause.code) {
    case 'ENOENT':
    case 'ENOTDIR':
    case 'ECONNREFUSED':
      return new XsknetError('ERR_XSKNET_DAEMON_ABSENT', `no daemon listens on ${socket}`, {
        hint: `Start one (\`xsknetd run --uplink <interface>\`, as root), or name its socket in $XSKNET_SOCKET.`,
        details,
        cause,
      })
    case 'EPROTOTYPE':
      return new XsknetError(
        'ERR_XSKNET_DAEMON_ABSENT',
        `${socket} is not a SOCK_SEQPACKET socket, so it is not a daemon’s`,
        {
          hint: 'Name the socket of xsknetd in $XSKNET_SOCKET.',
          details,
          cause,
        },
      )
    case 'EAGAIN':
      return new XsknetError(
        'ERR_XSKNET_DAEMON_ABSENT',
        `the daemon on ${socket} accepted no connection for ${ACCEPT_TIMEOUT_MS} ms`,
        { hint: 'It hangs, or too many clients connect at once: see its log.', details, cause },
      )
    case 'EACCES':
    case 'EPERM':
      return new XsknetError('ERR_XSKNET_NOT_PERMITTED', `this user cannot access the socket ${socket}`, {
        hint: 'Each folder of its path must be searchable (x), and the socket writable, for this user.',
        details,
        cause,
      })
    default:
      return new XsknetError('ERR_XSKNET_KERNEL_REFUSED', `connecting to ${socket} failed: ${cause.message}`, {
        hint: hints[cause.code ?? ''],
        details,
        cause,
      })
  }
}

/** Hints for errors that are not the daemon's. */
const hints: Record<string, string> = {
  EMFILE: 'This process has too many open files: close some, or raise the limit (`ulimit -n`, LimitNOFILE=).',
  ENFILE: 'The machine has too many open files: raise the limit `fs.file-max`.',
  ENAMETOOLONG: 'The path of a socket has at most 107 bytes: choose a shorter one.',
  ELOOP: 'The path has a loop of symbolic links: use another path.',
  ENOMEM: 'The machine or the control group of this process is out of memory.',
  ENOBUFS: 'The machine or the control group of this process is out of memory.',
}

function silent(socket: string): XsknetError {
  return new XsknetError(
    'ERR_XSKNET_DAEMON_ABSENT',
    `the process that listens on ${socket} did not answer for ${HELLO_TIMEOUT_MS} ms`,
    {
      hint: 'It is not xsknetd, or it hangs: see its log.',
      details: { socket },
    },
  )
}
