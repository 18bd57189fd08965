// Compiled, never run: every @ts-expect-error is a use that must not compile.
import type { Flow, PortOptions, XsknetError } from 'xsknet'
import {
  type Answer,
  type Event,
  encode,
  type Failure,
  fromFailure,
  type Parameters,
  type PinnedPortInfo,
  type PinnedPortRequest,
  type PortEntry,
  type PortInfo,
  type PortRequest,
  type Request,
  type Result,
  readReply,
  readRequest,
  readResult,
  toFailure,
} from 'xsknet/protocol'
import { exactly } from './exactly.js'

const request = readRequest(new Uint8Array())
exactly<Request>()(request)
if (request.operation === 'closePort') exactly<number>()(request.port)
if (request.operation === 'openPort') exactly<string>()(request.port.uplink)
// @ts-expect-error only of some requests
request.port
// @ts-expect-error no such operation
if (request.operation === 'destroy') throw request

exactly<Answer | Event>()(readReply(new Uint8Array()))
exactly<Result<'uplinks'>>()(readResult('uplinks', {}))
exactly<{ port: number }>()({ port: 1 } as Parameters<'closePort'>)
// @ts-expect-error no such operation
readResult('destroy', {})

// The options of a port are those of the request, but for a signal, what the client keeps to itself, and what it
// converts.
type Converted = 'addresses' | 'flows' | 'groups' | 'tap' | 'busyPoll' | 'umemOf'
type SameKeys = { [K in Exclude<keyof PortOptions, Converted | 'maxKept' | 'signal'>]: PortOptions[K] }
declare const sameOptions: { [K in Exclude<keyof PortRequest, Converted>]: PortRequest[K] }
exactly<SameKeys>()(sameOptions)
declare const options: PortOptions
exactly<readonly NonNullable<PortRequest['addresses']>[number][] | undefined>()(options.addresses)
exactly<readonly NonNullable<PortRequest['groups']>[number][] | undefined>()(options.groups)
exactly<readonly (NonNullable<PortRequest['flows']>[number] | Flow)[] | undefined>()(options.flows)
exactly<keyof PortRequest>()({} as Exclude<keyof PortOptions, 'maxKept' | 'signal'>)

// A pinned port and an entry of the list say the same of a port.
exactly<PinnedPortRequest>()({} as Pick<PortRequest, keyof PinnedPortRequest>)
exactly<PinnedPortInfo>()({} as Omit<PortInfo, 'bindMode'>)
declare const entry: PortEntry
exactly<Pick<PortInfo, 'port' | 'name' | 'uplink' | 'mac' | 'addresses' | 'vlan' | 'rings' | 'groups'>>()(
  entry as Omit<PortEntry, 'queues' | 'uid' | 'pid'>,
)

exactly<Uint8Array>()(encode({ version: 2, id: 1, operation: 'status' }))
encode({
  version: 2,
  event: 'uplinkGone',
  uplink: 'eth0',
  error: { code: 'ERR_XSKNET_UPLINK_CLOSED', message: 'gone' },
})
// @ts-expect-error the version that this side speaks
encode({ version: 1, id: 1, operation: 'status' })
// @ts-expect-error hello says who asks
encode({ version: 2, id: 1, operation: 'hello' })
// @ts-expect-error an operation with an operation's keys
encode({ version: 2, id: 1, operation: 'closePort', uplink: 'eth0' })

declare const error: XsknetError
exactly<Failure>()(toFailure(error))
exactly<XsknetError>()(fromFailure(toFailure(error)))
// @ts-expect-error a failure is made of an XsknetError, which has a code
toFailure(new Error('no'))
