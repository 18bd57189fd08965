// What a build and a test run need from the machine, and the packages that carry it.
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs'

const searchPath = [...process.env.PATH.split(':'), '/usr/sbin', '/sbin'] // Debian leaves sbin out of a user's PATH

const program = (name) => ({
  name,
  present: () =>
    searchPath.some((folder) => {
      try {
        accessSync(`${folder}/${name}`, constants.X_OK)
        return true
      } catch {
        return false
      }
    }),
})

const header = (name) => ({ name, present: () => existsSync(`/usr/include/${name}`) })

// biome-ignore format: a table
const needs = [
  // what                                 why                                     Debian             Fedora                      Arch
  [program('clang'),                      'compiles BPF; libclang comes with it', 'clang',           'clang',                    'clang'],
  [program('llvm-strip'),                 'strips them',                          'llvm',            'llvm',                     'llvm'],
  [program('gcc'),                        'compiles libxdp, and links',           'gcc',             'gcc',                      'gcc'],
  [program('make'),                       'builds libxdp',                        'make',            'make',                     'make'],
  [program('m4'),                         'builds libxdp',                        'm4',              'm4',                       'm4'],
  [program('pkg-config'),                 'builds libxdp',                        'pkg-config',      'pkgconf-pkg-config',       'pkgconf'],
  [header('stdio.h'),                     'the C library',                        'libc6-dev',       'glibc-devel',              'glibc'],
  [header('linux/if_xdp.h'),              'the kernel\'s words',                  'linux-libc-dev',  'kernel-headers',           'linux-api-headers'],
  [header('bpf/bpf_helpers.h'),           'the helpers that BPF programs call',   'libbpf-dev',      'libbpf-devel',             'libbpf'],
  [header('xdp/xsk.h'),                   'examples/pinned.c is built on it',     'libxdp-dev',      'libxdp-devel',             'libxdp'],
  [header('libelf.h'),                    'libxdp reads BPF objects',             'libelf-dev',      'elfutils-libelf-devel',    'libelf'],
  [header('zlib.h'),                      'libelf unpacks them',                  'zlib1g-dev',      'zlib-devel',               'zlib'],
  [header('pcap/pcap.h'),                 'libpcap judges filter expressions',    'libpcap-dev',     'libpcap-devel',            'libpcap'],
  [program('ip'),                         'shows and judges devices',             'iproute2',        'iproute',                  'iproute2'],
  [program('ethtool'),                    'shows and judges offloads',            'ethtool',         'ethtool',                  'ethtool'],
  [program('bpftool'),                    'shows and judges programs and maps',   'bpftool',         'bpftool',                  'bpf'],
  [program('nsenter'),                    'enters namespaces',                    'util-linux',      'util-linux',               'util-linux'],
  [program('setpriv'),                    'takes rights away',                    'util-linux',      'util-linux',               'util-linux'],
  [program('script'),                     'gives programs a terminal',            'bsdutils',        'util-linux-script',        'util-linux'],
  [program('ping'),                       'judges the data path',                 'iputils-ping',    'iputils',                  'iputils'],
  [program('dig'),                        'judges the data path',                 'bind9-dnsutils',  'bind-utils',               'bind'],
  [program('tcpdump'),                    'judges frames',                        'tcpdump',         'tcpdump',                  'tcpdump'],
].map(need)

/** Debian puts the major version into the packages' names; apt-get takes such a pattern. */
const driver = (name) => ({
  name: `DPDK's ${name}`,
  present: () =>
    below('/usr/lib', /^pmds-/).some((folder) =>
      readdirSync(folder).some((file) => file.startsWith(`librte_${name}.so`)),
    ),
})

// biome-ignore format: a table
const benchNeeds = [
  // what                                 why                                     Debian                             Fedora          Arch
  [program('perf'),                       'counts instructions',                  'linux-perf',                      'perf',         'perf'],
  [program('strace'),                     'counts system calls',                  'strace',                          'strace',       'strace'],
  [program('taskset'),                    'binds threads to processors',          'util-linux',                      'util-linux',   'util-linux'],
  [program('dpdk-testpmd'),               'is a peer',                            'dpdk-dev',                        'dpdk-tools',   'dpdk'],
  [driver('net_af_xdp'),                  'is that peer\'s way to AF_XDP',        '^librte-net-af-xdp[0-9]+$',       'dpdk',         'dpdk'],
  [driver('mempool_ring'),                'holds its packets',                    '^librte-mempool-ring[0-9]+$',     'dpdk',         'dpdk'],
].map(need)

function need([what, why, debian, fedora, arch]) {
  return { what, why, debian, fedora, arch }
}

/** The needs of builds and tests that this machine does not meet. */
export const missing = () => needs.filter(({ what }) => !what.present())

/** The further needs of measurements that it does not meet. */
export const missingForBench = () => benchNeeds.filter(({ what }) => !what.present())

/** The folders, two or three deep, whose name is like this. */
function below(folder, pattern, depth = 3) {
  const folders = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  return folders.flatMap(({ name }) => {
    const path = `${folder}/${name}`
    if (pattern.test(name)) return [path]
    return depth > 1 && /dpdk|-linux-/.test(name) ? below(path, pattern, depth - 1) : []
  })
}

/** The distribution's own name, and the family whose package names it uses. */
export function distribution() {
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  const field = (key) => release.match(new RegExp(`^${key}="?([^"\n]*)"?$`, 'm'))?.[1] ?? ''
  const ids = `${field('ID')} ${field('ID_LIKE')}`.split(' ')
  return {
    name: field('PRETTY_NAME') || 'unknown',
    family: ['debian', 'fedora', 'arch'].find((family) => ids.includes(family)),
  }
}
