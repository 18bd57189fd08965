import { closeSync, openSync } from 'node:fs'
import { connect, type Network, type Port, type PortOptions, XsknetError } from 'xsknet'
import { checkOptions, checkSignal, type MakeSocket, openPinnedPort, own, wrongType } from 'xsknet/internal'
import { makePinnedSocket, type PinnedSocketRequest } from '../platform/native.js'
import { DEFAULT_PINNED_RING_SIZE } from '../policy/limits.js'

/** Options of {@link openPinned}. */
export interface PinnedOptions {
  /**
   * The port, as for `network.openPort()`. This process creates the socket, so `frames`, `frameSize`, `headroom`,
   * `ringSize`, `zeroCopy`, `hugePages` and `busyPoll` apply here. Default of `ringSize`: 1024 slots.
   */
  port: PortOptions
  /** The connection that opens the port. Default: a new one, as `connect()` makes it, which is closed with the port. */
  network?: Network | undefined
  /** Aborts the opening: the promise rejects with the signal's reason, and whatever is open by then is closed. */
  signal?: AbortSignal | undefined
}

/** The network namespace of this process. */
const NAMESPACE = '/proc/self/ns/net'

/**
 * Opens a pinned port: the daemon puts its inner end into this process's network namespace and pins its XSKMAP for this
 * user; this process creates the AF_XDP socket and puts it into the map. The resulting {@link Port} works like any
 * other.
 *
 * Requirements:
 * - a grant with `pinned = true`, or root;
 * - the capability CAP_NET_RAW;
 * - the host's bpffs, visible in this mount namespace (the daemon allows only this user to open the pin);
 * - RLIMIT_MEMLOCK for the UMEM, 4 MiB for the default of 2048 frames of 2048 bytes: this process registers the UMEM,
 *   and the kernel counts all memory that a user has registered.
 *
 * The inner end has to stay as the daemon created it. If its MAC, MTU, state or offloads are changed, or if it is
 * deleted or moved, the port is lost, and the error says what was changed.
 *
 * @throws {XsknetError} What `connect()` and `network.openPort()` reject with; `ERR_XSKNET_NOT_PERMITTED` without the
 * grant (its hint has the missing line); `ERR_XSKNET_SOCKET_REFUSED` if the socket cannot be created or the map cannot
 * be opened, with the kernel's `errno` in the cause; `ERR_XSKNET_MTU_TOO_LARGE` if a frame cannot hold the port's MTU;
 * or `ERR_XSKNET_PORT_LOST` if the port was lost meanwhile.
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
    const opened = await inThisNamespace((namespace) =>
      openPinnedPort(net, { ...port, signal: either }, namespace, createSocket),
    )
    if (!network) {
      const leave = () => void net.close().catch(() => {}) // it has no other port that could fail to close
      opened.closed.then(leave, leave)
    }
    return opened
  } catch (error) {
    if (!network) await net.close().catch(() => {}) // report the first failure
    throw error
  }
}

const createSocket: MakeSocket = async (place, { ringSize = DEFAULT_PINNED_RING_SIZE, ...wishes }) => {
  const { xsk, umem, socket, attempts } = await makePinnedSocket({
    ...place,
    ...wishes,
    ringSize,
  } as PinnedSocketRequest)
  return { xsk, descriptors: own([xsk, umem]), description: socket, attempts }
}

async function inThisNamespace<T>(use: (namespace: number) => Promise<T>): Promise<T> {
  let namespace: number
  try {
    namespace = openSync(NAMESPACE, 'r')
  } catch (cause) {
    throw new XsknetError(
      'ERR_XSKNET_KERNEL_REFUSED',
      `this process cannot open its own network namespace, ${NAMESPACE}`,
      {
        hint: 'A pinned port needs /proc to be mounted and to show this process.',
        details: { path: NAMESPACE },
        cause,
      },
    )
  }
  try {
    return await use(namespace)
  } finally {
    closeSync(namespace)
  }
}
