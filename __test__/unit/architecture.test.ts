import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import test from 'ava'
import { crates, type Dependency, npmManifest, root, tree } from '../helpers/workspace.js'

/** Each crate of crates/ by its folder, and the crates that its code may call. Any other dependency is refused. */
const arrows: Record<string, string[]> = {
  bpf: ['filter', 'ring'],
  control: [],
  failure: [],
  filter: [],
  link: [],
  ring: [],
  xsk: ['ring'],
  port: ['bpf', 'filter', 'link', 'ring', 'xsk'],
  testkit: ['bpf', 'link', 'xsk'],
  path: ['xsk'],
  'node-xsknet': ['control', 'failure', 'path', 'xsk'],
  'node-xsknetd': ['bpf', 'control', 'failure', 'link', 'port', 'testkit', 'xsk'],
}

/** Dependencies that only these crates may have. */
const confined: [what: RegExp, folders: string[]][] = [
  [/^aya(-|$)/, ['bpf']],
  [/netlink|^ethtool$/, ['link']],
  [/^xsk-rs$/, ['xsk']],
  [/^tokio$/, ['control', 'node-xsknetd']],
  [/^napi(-|$)/, ['node-xsknet', 'node-xsknetd']],
]

const workspace = crates().map((crate) => ({ folder: basename(dirname(crate.manifest_path)), ...crate }))
const folderOf = (dependency: Dependency) => workspace.find(({ name }) => name === dependency.name)?.folder
const namesOf = (dependencies: Dependency[]) => dependencies.map(({ name }) => name)
const folders = (path: string) =>
  readdirSync(`${root}${path}`, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))

test('crates/ has the crates of this list and no other', (t) => {
  const planned = Object.keys(arrows).sort()
  t.deepEqual(folders('crates').sort(), planned)
  t.deepEqual(workspace.map(({ folder }) => folder).sort(), planned)
})

for (const { folder, dependencies } of workspace) {
  test(`${folder} calls only the crates below it; its tests may use the testkit too`, (t) => {
    const strays = dependencies.filter((dependency) => {
      const called = folderOf(dependency)
      if (called === undefined || arrows[folder]?.includes(called)) return false
      return !(called === 'testkit' && dependency.kind === 'dev')
    })
    t.deepEqual(namesOf(strays), [])
  })
}

for (const [what, holders] of confined) {
  test(`${what.source} is used in ${holders.join(' and ')} and nowhere else`, (t) => {
    const users = workspace.filter(({ dependencies }) => dependencies.some(({ name }) => what.test(name)))
    t.deepEqual(users.map(({ folder }) => folder).sort(), holders)
  })
}

test('xsk needs no runtime, and xsk-rs only where a socket is made', (t) => {
  const used = workspace.find(({ folder }) => folder === 'xsk')?.dependencies ?? []
  t.false(namesOf(used).includes('tokio'))
  t.is(used.find(({ name }) => name === 'xsk-rs')?.optional, true)
})

test('the control transport needs a runtime only where it serves', (t) => {
  const used = workspace.find(({ folder }) => folder === 'control')?.dependencies ?? []
  const tokio = used.filter(({ name, kind }) => name === 'tokio' && kind === null)
  t.deepEqual(
    tokio.map(({ optional }) => optional),
    [true],
  )
})

test('what the binding of the client is made of: no runtime, no maker of sockets, no BPF, no netlink', (t) => {
  const heavy = /^(tokio|xsk-rs|lib(xdp|bpf)-sys|aya.*|.*netlink.*|xsknet-(bpf|link|port))$/
  const inside = (crate: string) => [...new Set(tree(crate).filter((name) => heavy.test(name)))]
  t.deepEqual(inside('xsknet-node'), [])
  const daemons = inside('xsknetd-node')
  for (const name of ['tokio', 'xsk-rs', 'aya', 'xsknet-port']) {
    t.true(daemons.includes(name), `the daemon’s has ${name}`)
  }
})

for (const folder of folders('packages')) {
  test(`one file of packages/${folder} imports its binding`, (t) => {
    const source = `${root}packages/${folder}/src`
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
    const importers = files.filter((file) => /['"`][./]+\/native\//.test(readFileSync(`${source}/${file}`, 'utf8')))
    t.deepEqual(
      importers.map((file) => basename(file)),
      ['binding.ts'],
    )
  })

  test(`packages/${folder} has the version of the crates, and what it needs of others travels inside it`, (t) => {
    const { version, dependencies = {}, bundledDependencies = [] } = npmManifest(`packages/${folder}`)
    for (const crate of workspace) t.is(version, crate.version)
    const ours = folders('packages').map((other) => npmManifest(`packages/${other}`).name)
    const foreign = Object.keys(dependencies).filter((name) => !ours.includes(name))
    t.deepEqual(foreign.sort(), [...bundledDependencies].sort())
    for (const [name, wanted] of Object.entries(dependencies)) {
      t.regex(wanted, ours.includes(name) ? /^workspace:\*$/ : /^\d+\.\d+\.\d+$/, name)
    }
  })
}

test('the client knows nothing of the daemon', (t) => {
  const { dependencies = {} } = npmManifest('packages/xsknet')
  t.false('xsknetd' in dependencies)
})

test('the lock file names no registry, so that any mirror serves', (t) => {
  t.notRegex(readFileSync(`${root}pnpm-lock.yaml`, 'utf8'), /https?:\/\//)
})
