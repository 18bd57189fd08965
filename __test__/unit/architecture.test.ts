import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import test from 'ava'
import { crates, type Dependency, npmManifest, root } from '../helpers/workspace.js'

/** Each room of crates/, and the rooms that its code may call. An arrow that is not here is refused. */
const arrows: Record<string, string[]> = {
  bpf: [],
  link: [],
  xsk: [],
  port: ['bpf', 'link', 'xsk'],
  testkit: ['bpf', 'link', 'xsk'],
  'node-xsknet': ['xsk'],
}

/** Dependencies that one room keeps to itself, so that all others stay free of them. */
const confined: Record<string, RegExp> = {
  bpf: /^aya(-|$)/,
  link: /netlink|^ethtool$/,
  xsk: /^xsk-rs$/,
  'node-xsknet': /^napi(-|$)/,
}

const rooms = crates().map((crate) => ({ room: basename(dirname(crate.manifest_path)), ...crate }))
const roomOf = (dependency: Dependency) => rooms.find(({ name }) => name === dependency.name)?.room
const namesOf = (dependencies: Dependency[]) => dependencies.map(({ name }) => name)
const folders = (path: string) =>
  readdirSync(`${root}${path}`, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))

test('crates/ holds the rooms of this plan and no other', (t) => {
  const planned = Object.keys(arrows).sort()
  t.deepEqual(folders('crates').sort(), planned)
  t.deepEqual(rooms.map(({ room }) => room).sort(), planned)
})

for (const { room, dependencies } of rooms) {
  test(`${room} calls only the rooms below it; its tests may use the testkit too`, (t) => {
    const strays = dependencies.filter((dependency) => {
      const called = roomOf(dependency)
      if (called === undefined || arrows[room]?.includes(called)) return false
      return !(called === 'testkit' && dependency.kind === 'dev')
    })
    t.deepEqual(namesOf(strays), [])
  })
}

for (const [room, what] of Object.entries(confined)) {
  test(`${what.source} is used in ${room} and nowhere else`, (t) => {
    const users = rooms.filter(({ dependencies }) => dependencies.some(({ name }) => what.test(name)))
    t.deepEqual(
      users.map((user) => user.room),
      [room],
    )
  })
}

test('xsk needs no runtime, and xsk-rs only where a socket is made', (t) => {
  const used = rooms.find(({ room }) => room === 'xsk')?.dependencies ?? []
  t.false(namesOf(used).includes('tokio'))
  t.is(used.find(({ name }) => name === 'xsk-rs')?.optional, true)
})

test('the binding of the client makes no socket, so xsk-rs stays out of it', (t) => {
  const used = rooms.find(({ room }) => room === 'node-xsknet')?.dependencies ?? []
  t.false(used.flatMap(({ features }) => features).includes('create'))
})

test('one file of packages/xsknet imports the binding', (t) => {
  const source = `${root}packages/xsknet/src`
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  const importers = files.filter((file) => /['"`][./]+\/native\//.test(readFileSync(`${source}/${file}`, 'utf8')))
  t.deepEqual(importers, ['native.ts'])
})

test('the npm packages have the version of the crates, and nothing of others at run time', (t) => {
  for (const folder of folders('packages')) {
    const { version, dependencies = {} } = npmManifest(`packages/${folder}`)
    for (const crate of rooms) t.is(version, crate.version)
    t.deepEqual(dependencies, {})
  }
})

test('the lock file names no registry, so that any mirror serves', (t) => {
  t.notRegex(readFileSync(`${root}pnpm-lock.yaml`, 'utf8'), /https?:\/\//)
})
