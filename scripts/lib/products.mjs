// What is published: two packages for every system, and for each a package with its binding for one platform.

/** The platform that bindings are built for; every package and every binary says it in this way. */
export const platform = {
  triple: 'x86_64-unknown-linux-gnu',
  suffix: 'linux-x64-gnu',
  os: ['linux'],
  cpu: ['x64'],
  libc: ['glibc'],
}

const product = (name, crate, carrier, { examples = [], documents = [] } = {}) => ({
  name,
  folder: `packages/${name}`,
  crate,
  /** The file that napi makes. */
  binding: `${name}.${platform.suffix}.node`,
  carrier: `@xsknet/${carrier}-${platform.suffix}`,
  /** Files of examples/ that travel with it: those of docs/getting-started.md. */
  examples,
  /** Of docs/, what hints of the package name. */
  documents,
})

export const products = [
  product('xsknet', 'xsknet-node', 'client', {
    examples: ['ping.ts', 'echo.ts', 'count.ts'],
    documents: ['flows.md', 'groups.md', 'protocol.md', 'protocol'],
  }),
  product('xsknetd', 'xsknetd-node', 'daemon'),
]

/** No tarball may be larger than this, packed and unpacked, in KiB; docs/packages.md names the figures. */
export const budgets = {
  xsknet: [490, 3300],
  xsknetd: [400, 2800],
  '@xsknet/client-linux-x64-gnu': [440, 950],
  '@xsknet/daemon-linux-x64-gnu': [3200, 8200],
}
