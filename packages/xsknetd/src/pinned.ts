import { closeSync, openSync } from 'node:fs'
import { connect, type Network, type Port, type PortOptions, XsknetError } from 'xsknet'
import { checkOptions, checkSignal, type MakeSocket, openPinnedPort, own, wrongType } from 'xsknet/internal'
import { makePinnedSocket, type PinnedSocketRequest } from './native.js'

/** What {@link openPinned} is told. */
export interface PinnedOptions {
  /**
   * What the port is to be, as for `network.openPort()`. Sizes, `zeroCopy` and `busyPoll` are for the socket that is made here, and
   * the default of `ringSize` is 1024.
   */
  port: PortOptions
  /** The connection that opens it. Default: one of its own, as `connect()` makes it, which ends with the port. */
  network?: Network | undefined
  /** Gives up waiting: rejects with the signal's reason, and whatever is open by then is closed. */
  signal?: AbortSignal | undefined
}

/**
 * Of its UMEM, twice as many frames of 2048 bytes. Twice that would be the 8 MiB that most systems let a user lock, to the byte; but
 * the io_uring of Node's own event loop counts against them, too.
 */
const RING_SIZE = 1024

/** Where the kernel shows this process its network namespace. */
const NAMESPACE = '/proc/self/ns/net'

/**
 * Opens a pinned port: its inner end is made in this process's network namespace, and this process makes the AF_XDP socket and puts
 * it into the port's XSKMAP, which the daemon has pinned for this user. What resolves is a {@link Port} like any other.
 *
 * It takes
 * - a grant with `pinned = true`, or root;
 * - the capability CAP_NET_RAW;
 * - the host's bpffs visible in this mount namespace (the daemon lets this user alone open the pin);
 * - RLIMIT_MEMLOCK for the UMEM, 4 MiB for the default of 2048 frames of 2048 bytes: it is this process that registers it, and the
 *   kernel counts all that a user has registered together.
 *
 * The port's end in the namespace has to stay as the daemon made it. If its MAC, MTU, state or offloads are changed, or it is deleted
 * or moved, the port is lost, and the error says what was changed.
 *
 * @throws {XsknetError} What `connect()` and `network.openPort()` reject with, `ERR_XSKNET_NOT_PERMITTED` without the grant (its
 * hint has the line that is missing), `ERR_XSKNET_SOCKET_REFUSED` where the socket cannot be made or the map not be opened, with the
 * kernel's `errno` in the cause, `ERR_XSKNET_MTU_TOO_LARGE` where a frame does not hold the port's MTU, or
 * `ERR_XSKNET_PORT_LOST` if the port was taken away meanwhile.
 */
export async function openPinned(options: PinnedOptions): Promise<Port> {
  checkOptions(options, ['port', 'network', 'signal'])
  const { port, network, signal } = options
  checkSignal(signal)
  if (typeof port !== 'object' || port === null) throw wrongType('options.port', 'of type object', port)
  checkSignal(port.signal)
  const signals = [signal, port.signal].filter((given) => given !== undefined)
  const either = AbortSignal.any(signals)
  either.throwIfAborted()

  const net = network ?? (await connect({ signal: either }))
  try {
    const opened = await inThisNamespace((namespace) => openPinnedPort(net, { ...port, signal: either }, namespace, make))
    if (!network) {
      const leave = () => void net.close().catch(() => {}) // there is no other port on it that could fail to close
      opened.closed.then(leave, leave)
    }
    return opened
  } catch (error) {
    if (!network) await net.close().catch(() => {}) // what failed first is what is told
    throw error
  }
}

const make: MakeSocket = async (place, { ringSize = RING_SIZE, ...wishes }) => {
  const { xsk, umem, socket, attempts } = await makePinnedSocket({ ...place, ...wishes, ringSize } as PinnedSocketRequest)
  return { xsk, descriptors: own([xsk, umem]), description: socket, attempts }
}

async function inThisNamespace<T>(use: (namespace: number) => Promise<T>): Promise<T> {
  let namespace: number
  try {
    namespace = openSync(NAMESPACE, 'r')
  } catch (cause) {
    throw new XsknetError('ERR_XSKNET_KERNEL_REFUSED', `this process cannot open its own network namespace, ${NAMESPACE}`, {
      hint: 'A pinned port takes a /proc that shows this process.',
      details: { path: NAMESPACE },
      cause,
    })
  }
  try {
    return await use(namespace)
  } finally {
    closeSync(namespace)
  }
}
