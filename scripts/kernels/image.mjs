// What a machine boots: a kernel, and an initramfs that is the whole system, so that there is no disk to make, mount or
// clean up. The kernel unpacks archives that follow each other in one file, so each part is made when it changes and
// never else.
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { root, Stop } from '../lib/run.mjs'
import { dependenciesOf, run, unpack, versionsOf } from './archive.mjs'
import { place } from './place.mjs'
import { kernels } from './table.mjs'

/** QEMU, and what makes images; unpacked with the libraries that they need, so that the machine's own do not matter. */
export const TOOLS = ['qemu-system-x86', 'cpio', 'kmod']
// biome-ignore format: a list of words
const GUEST = [
  'base-files', 'bash', 'coreutils', 'dash', 'diffutils', 'ethtool', 'grep', 'iproute2', 'iputils-ping', 'kmod',
  'libstdc++6', 'mawk', 'mount', 'procps', 'sed', 'socat', 'util-linux',
]
/**
 * Folders and files below a kernel's modules that the guest can need; all others are left out, since they would fill
 * its memory.
 */
// biome-ignore format: a list of words
const MODULES = [
  'arch/x86/crypto', 'crypto', 'lib', 'drivers/char/hw_random', 'drivers/dca', 'drivers/hwmon/hwmon.ko', 'drivers/i2c',
  'drivers/net/ethernet/intel/e1000e', 'drivers/net/ethernet/intel/igb', 'drivers/net/ethernet/intel/libeth',
  'drivers/net/net_failover.ko', 'drivers/net/veth.ko', 'drivers/net/virtio_net.ko', 'drivers/net/vmxnet3',
  'drivers/pps', 'drivers/ptp', 'drivers/virtio', 'net/802', 'net/8021q', 'net/core', 'net/ethernet', 'net/ipv6',
  'net/llc', 'net/packet', 'net/sched', 'net/xdp',
]
/** What no test looks at. */
const LEFT_OUT = new RegExp(
  '^\\./(usr/share/(doc|man|locale|info|i18n|zoneinfo|perl|bash-completion)/|' +
    'usr/lib/x86_64-linux-gnu/(gconv|perl))',
)

export const TOOLS_FOLDER = `${place}tools`

/**
 * A program of the tools, as a command and its first arguments: their own loader starts it, with their own libraries.
 */
export const tool = (path) => [
  `${TOOLS_FOLDER}/usr/lib64/ld-linux-x86-64.so.2`,
  ['--library-path', `${TOOLS_FOLDER}/usr/lib/x86_64-linux-gnu`, `${TOOLS_FOLDER}/usr/${path}`],
]

export function fetchTools() {
  if (existsSync(TOOLS_FOLDER)) return
  console.log(`kernels: ${TOOLS.join(', ')}, to ${shown(TOOLS_FOLDER)}`)
  unpack(TOOLS_FOLDER, TOOLS, { dependencies: true })
}

/** Makes what is the same for all kernels: the guest's system, the packages as a user gets them, the steps. */
export function makeSystem() {
  const system = `${place}system`
  if (!existsSync(`${system}.cpio`)) {
    console.log(`kernels: the guest's system, to ${shown(system)}`)
    unpack(system, GUEST, { dependencies: true })
    for (const folder of ['dev', 'proc', 'sys', 'run', 'tmp', 'root'])
      mkdirSync(`${system}/${folder}`, { recursive: true })
    const node = `${root}__test__/node_modules/node-24/bin/node`
    copyFileSync(node, `${system}/usr/bin/node`)
    archive(system, `${system}.cpio`)
  }

  const tarballs = readdirSync(`${root}packed`).flatMap((file) =>
    file.endsWith('.tgz') ? [`${root}packed/${file}`] : [],
  )
  const digest = tarballs.reduce((hash, file) => hash.update(readFileSync(file)), createHash('sha256')).digest('hex')
  const program = `${place}program`
  if (!existsSync(`${program}.of`) || readFileSync(`${program}.of`, 'utf8') !== digest) {
    console.log('kernels: the packages, installed with npm from packed/')
    rmSync(program, { recursive: true, force: true })
    mkdirSync(`${program}/xsknet`, { recursive: true })
    writeFileSync(`${program}/xsknet/package.json`, '{ "private": true, "type": "module" }\n')
    run('npm', ['install', '--offline', '--no-audit', '--no-fund', ...tarballs], { cwd: `${program}/xsknet` })
    archive(program, `${program}.cpio`)
    writeFileSync(`${program}.of`, digest)
  }

  const steps = `${place}steps`
  rmSync(steps, { recursive: true, force: true })
  cpSync(`${root}scripts/kernels/guest`, `${steps}/xsknet`, { recursive: true })
  copyFileSync(`${root}__test__/helpers/sums.ts`, `${steps}/xsknet/sums.ts`)
  copyFileSync(`${root}scripts/kernels/guest/init`, `${steps}/init`)
  run('clang', [
    '-O2',
    '-target',
    'bpf',
    '-c',
    `${root}scripts/kernels/guest/filter.bpf.c`,
    '-o',
    `${steps}/xsknet/filter.o`,
  ])
  archive(steps, `${steps}.cpio`)
}

/** Finds the kernels that are wanted, by the beginning of their version; all of the table unless some are named. */
export function chooseKernels(wanted) {
  const versions = versionsOf('linux-image-amd64')
  const offered = kernels.map(({ suite }) => {
    const found = versions.find((each) => suite === undefined || each.suite === suite)
    if (!found) throw new Stop(`no kernel in ${suite}: is ${shown(place)} of an old archive? Remove it`)
    return { version: found.version, kernel: found.version.match(/^\d+\.\d+/)[0] }
  })
  return offered.filter(({ kernel }) => wanted.length === 0 || wanted.includes(kernel))
}

/** Makes `vmlinuz` and the initramfs of one kernel; answers their folder. */
export function makeKernel({ version, kernel }) {
  const folder = `${place}linux-${kernel}/`
  if (!existsSync(`${folder}modules.cpio`)) {
    console.log(`kernels: Linux ${version}, to ${shown(folder)}`)
    const image = dependenciesOf('linux-image-amd64', version).find((name) => name.startsWith('linux-image-'))
    // A kernel is one package, or one that depends on the others.
    const parts = dependenciesOf(image, version).filter((name) => /^linux-(binary|modules)-/.test(name))
    const unpacked = `${place}unpacked`
    unpack(
      unpacked,
      [image, ...parts].map((name) => `${name}=${version}`),
    )
    mkdirSync(folder, { recursive: true })
    const vmlinuz = run('find', [unpacked, '-name', 'vmlinuz*', '-type', 'f', '-size', '+1M']).trim().split('\n')[0]
    copyFileSync(vmlinuz, `${folder}vmlinuz`)
    const all = run('find', [unpacked, '-path', '*/lib/modules/*', '-prune', '-type', 'd']).trim().split('\n')[0]
    selectModules(all, `${folder}modules`)
    archive(`${folder}modules`, `${folder}modules.cpio`)
    rmSync(unpacked, { recursive: true })
    rmSync(`${folder}modules`, { recursive: true })
  }
  const archives = ['system', 'program', 'steps'].map((name) => `${place}${name}.cpio`).concat('modules.cpio')
  run('sh', ['-c', 'cat "$@" > initrd', 'sh', ...archives], { cwd: folder })
  return folder
}

function selectModules(from, to) {
  const release = from.split('/').at(-1)
  const modules = `${to}/usr/lib/modules/${release}`
  rmSync(to, { recursive: true, force: true })
  mkdirSync(modules, { recursive: true })
  for (const file of readdirSync(from))
    if (file.startsWith('modules.')) copyFileSync(`${from}/${file}`, `${modules}/${file}`)
  for (const path of MODULES) {
    for (const end of ['', '.xz', '.zst']) {
      if (existsSync(`${from}/kernel/${path}${end}`))
        cpSync(`${from}/kernel/${path}${end}`, `${modules}/kernel/${path}${end}`, { recursive: true })
    }
  }
  const [command, args] = tool('bin/kmod')
  // kmod knows by its name what it is to do.
  run(command, ['--argv0', 'depmod', ...args, '-b', `${to}/usr`, release])
}

/** Packs a folder as an initramfs. */
function archive(folder, file) {
  const names = run('find', ['.'], { cwd: folder }).split('\n')
  const input = names.filter((name) => name && !LEFT_OUT.test(name)).join('\n')
  const [command, args] = tool('bin/cpio')
  const bytes = run(command, [...args, '-o', '-H', 'newc', '-R', '0:0', '--quiet', '-O', `${file}.unfinished`], {
    cwd: folder,
    input,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  renameSync(`${file}.unfinished`, file)
  return bytes
}

const shown = (path) => path.replace(root, '')
