// Debian packages of several suites, unpacked into folders. apt gets lists, a cache and an (empty) status of its own,
// so that the machine's own state is neither read nor changed; only the mirror is the one that the machine uses.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { output, Stop } from '../lib/run.mjs'
import { place } from './place.mjs'

/** Suite of QEMU and of the guest's programs: the first whose QEMU has all the NICs. */
const BASE = 'trixie'
const SUITES = ['bookworm', BASE, `${BASE}-backports`, 'sid']
const KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg'

const apt = `${place}apt/`
const settings = [
  `Dir::Etc::sourcelist=${apt}sources.list`,
  'Dir::Etc::sourceparts=/dev/null',
  `Dir::State::lists=${apt}lists`,
  `Dir::State::status=${apt}status`,
  `Dir::Cache=${apt}cache`,
  `APT::Default-Release=${BASE}`,
  'APT::Sandbox::User=root', // apt's own user may not reach this folder
].flatMap((setting) => ['-o', setting])

/** Fetches the lists of packages, once: what is tried stays the same until target/kernels is removed. */
export function fetchLists() {
  if (existsSync(`${apt}fetched`)) return
  console.log(`kernels: lists of packages of ${SUITES.join(', ')}`)
  mkdirSync(`${apt}lists/partial`, { recursive: true })
  mkdirSync(`${apt}cache/archives/partial`, { recursive: true })
  writeFileSync(`${apt}status`, '')
  const uri = mirror()
  writeFileSync(`${apt}sources.list`, SUITES.map((suite) => `deb [signed-by=${KEYS}] ${uri} ${suite} main\n`).join(''))
  run('apt-get', [...settings, '-q', 'update'])
  writeFileSync(`${apt}fetched`, '')
}

function mirror() {
  const targets =
    output('apt-get', ['indextargets', '--format', '$(REPO_URI) $(CODENAME)', 'Identifier: Packages']) ?? ''
  const uris = targets.split('\n').flatMap((line) => (line && !/-security$/.test(line) ? [line.split(' ')[0]] : []))
  if (!uris[0] || !existsSync(KEYS))
    throw new Stop('test:kernels takes its kernels from the mirror of a Debian machine, and this is none')
  return uris[0]
}

/** The versions of a package, the highest first. */
export function versionsOf(name) {
  const lines = (output('apt-cache', [...settings, 'madison', name]) ?? '').split('\n').filter(Boolean)
  return lines.map((line) => {
    const [, version, source] = line.split('|').map((cell) => cell.trim())
    return { version, suite: source.split(' ')[1].split('/')[0] }
  })
}

/** The names that a package of one version depends on, first choices alone. */
export function dependenciesOf(name, version) {
  const text = output('apt-cache', [...settings, 'show', `${name}=${version}`]) ?? ''
  const names = text.match(/^Depends: (.*)$/m)?.[1].split(', ') ?? []
  return names.map((each) => each.split(' ')[0])
}

/** Unpacks these packages, given as `name` or `name=version`, and, if asked for, what they depend on, to a folder. */
export function unpack(folder, packages, { dependencies = false } = {}) {
  const archives = `${apt}cache/archives/`
  rmSync(archives, { recursive: true, force: true })
  mkdirSync(`${archives}partial`, { recursive: true })
  if (dependencies) {
    const options = ['-q', '-y', '--download-only', '--no-install-recommends']
    run('apt-get', [...settings, 'install', ...options, ...packages])
  } else {
    run('apt-get', [...settings, '-q', 'download', ...packages], { cwd: archives })
  }
  const unfinished = `${folder}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  for (const file of readdirSync(archives))
    if (file.endsWith('.deb')) run('dpkg-deb', ['-x', `${archives}${file}`, unfinished])
  rmSync(archives, { recursive: true })
  rmSync(folder, { recursive: true, force: true })
  renameSync(unfinished, folder)
}

/** Runs a program in silence; what it said is shown only if it failed. */
export function run(command, args, options = {}) {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 1 << 28,
      ...options,
    })
  } catch ({ message, stdout, stderr }) {
    throw new Stop(`${command} failed: ${message}\n${stdout ?? ''}${stderr ?? ''}`)
  }
}
