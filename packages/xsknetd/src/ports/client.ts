import type { XsknetError } from 'xsknet'
import type { UplinkInfo } from 'xsknet/protocol'
import type { Descriptors } from '../platform/transport.js'
import type { Credentials } from '../policy/credentials.js'

/** A client, as far as its ports are concerned. */
export interface Client {
  readonly credentials: Credentials
  /** Opens the network namespace that its process is in now. The caller has to close the descriptor. */
  namespace(): Descriptors
  portLost(port: number, error: XsknetError): void
  uplinkGone(uplink: string, error: XsknetError): void
  uplinkChanged(uplink: UplinkInfo): void
  addressConflict(port: number, address: string): void
}
