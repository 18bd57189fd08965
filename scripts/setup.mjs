// Prepares this machine for building and testing: checks Node and Rust, installs missing system packages on Debian and
// its derivatives and the npm packages of the lock file, and writes cargo's settings for this clone. It changes nothing
// else. A second run finds all in place and ends at once.
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { configureCargo } from './lib/cargo.mjs'
import { distribution, missing } from './lib/host.mjs'
import { isMain, main, must, output, root, Stop } from './lib/run.mjs'

const NODE = '20.19'
const RUST = '1.95'

export async function setup() {
  checkVersions()
  await installSystemPackages()
  await installNpmPackages()
  await configureCargo()
}

function checkVersions() {
  if (process.platform !== 'linux')
    throw new Stop(`XSKNet is built on AF_XDP, which is a part of Linux; this is ${process.platform}.`)
  const node = process.versions.node
  if (!atLeast(node, NODE)) throw new Stop(`Node ${NODE} or newer is needed; this is Node ${node}: https://nodejs.org`)
  const rust = output('rustc', ['--version'])?.match(/\d+\.\d+\.\d+/)?.[0]
  if (!rust) throw new Stop(`Rust ${RUST} or newer is needed, and no rustc was found: https://rustup.rs`)
  if (!atLeast(rust, RUST))
    throw new Stop(`Rust ${RUST} or newer is needed; this is Rust ${rust}: run \`rustup update\`.`)
  console.log(`set-up: Node ${node}, Rust ${rust}`)
}

async function installSystemPackages() {
  if (missing().length === 0) return console.log('set-up: system packages are all there')
  await install(missing)
}

/** Installs what is missing by this account. */
export async function install(missing) {
  const wanted = missing()
  if (wanted.length === 0) return

  const { name, family } = distribution()
  for (const need of wanted) console.log(`set-up: ${need.what.name} is missing (${need.why})`)
  if (family !== 'debian' || process.getuid() !== 0) throw new Stop(packagesToInstall(wanted, name, family))

  const packages = wanted.map((need) => need.debian)
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  await must('apt-get', ['update', '-q'], { env })
  await must('apt-get', ['install', '-q', '-y', '--no-install-recommends', ...packages], { env })

  const still = missing().map((need) => need.what.name)
  if (still.length > 0)
    throw new Stop(`${still.join(', ')} still missing after apt-get installed ${packages.join(' ')}`)
}

function packagesToInstall(wanted, name, family) {
  const install = { debian: 'apt-get install --no-install-recommends', fedora: 'dnf install', arch: 'pacman -S' }
  const commands = (family ? [family] : Object.keys(install)).map(
    (each) => `  ${each.padEnd(6)}  ${install[each]} ${wanted.map((need) => need[each]).join(' ')}`,
  )
  const reason =
    family === 'debian'
      ? 'Installing takes root'
      : `Set-up installs packages on Debian and its derivatives only; this is ${name}`
  return `${reason}. Please install what is missing, then run this again:\n${commands.join('\n')}`
}

async function installNpmPackages() {
  const lock = `${root}pnpm-lock.yaml`
  const done = `${root}node_modules/.installed-lock.yaml` // the lock file as it was when node_modules was made
  const wanted = readFileSync(lock, 'utf8')
  if (existsSync(done) && readFileSync(done, 'utf8') === wanted && hasPackagesOf(wanted))
    return console.log('set-up: npm packages are as in the lock file')

  const { packageManager } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'))
  await must('npx', ['--yes', packageManager, 'install', '--frozen-lockfile'])
  copyFileSync(lock, done)
}

/** Whether each folder of the workspace has its packages: one may have been removed, or left out of a copy. */
function hasPackagesOf(lock) {
  const importers = lock.match(/^importers:\n(.*?)^\S/ms)?.[1] ?? ''
  return [...importers.matchAll(/^ {2}(\S+):$/gm)].every(([, folder]) => existsSync(`${root}${folder}/node_modules`))
}

function atLeast(version, minimum) {
  const [major, minor] = version.split('.').map(Number)
  const [minMajor, minMinor] = minimum.split('.').map(Number)
  return major > minMajor || (major === minMajor && minor >= minMinor)
}

if (isMain(import.meta.url)) await main(setup)
