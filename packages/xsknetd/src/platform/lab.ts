/** A machine of a lab, and its end of the cable. */
export interface LabMachine {
  /** The path of its network namespace. */
  readonly namespace: string
  readonly device: string
  /** An IPv4 and an IPv6 address, each with its prefix length. */
  readonly addresses: readonly string[]
}

/** A test network: two network namespaces, connected by a veth pair. */
export interface Lab {
  readonly name: string
  /** Whether it was just built, rebuilt because it was incomplete, or existed already. */
  readonly raised: 'built' | 'rebuilt' | 'stood'
  /** The machine with the uplink. */
  readonly host: LabMachine
  /** The machine at the other end of the cable. */
  readonly remote: LabMachine
  /** Addresses that are reserved for ports, each an IPv4 and an IPv6 address. */
  readonly ports: readonly (readonly string[])[]
}
