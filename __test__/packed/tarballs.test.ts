import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'ava'
import { chosen } from '../../scripts/lib/licenses.mjs'
import { budgets, products } from '../../scripts/lib/products.mjs'
import { executable, tarballs } from '../helpers/installed.js'
import { filesIn, unpacked } from '../helpers/packed.js'
import { npmManifest, root } from '../helpers/workspace.js'

const all = unpacked()
const packages = all.filter(({ name }) => !name.startsWith('@'))
const carriers = all.filter(({ name }) => name.startsWith('@'))
const read = (folder: string, file: string) => readFileSync(join(folder, file), 'utf8')

test('there are two packages, and one for each with its binding', (t) => {
  t.deepEqual(
    all.map(({ name }) => name),
    ['@xsknet/client-linux-x64-gnu', '@xsknet/daemon-linux-x64-gnu', 'xsknet', 'xsknetd'],
  )
})

for (const { name, folder, files, manifest } of all) {
  test(`${name} has a version, a licence and a README, names what is inside, and has nothing of the workspace`, (t) => {
    t.is(manifest.version, npmManifest('packages/xsknet').version)
    t.is(manifest.license, 'MIT')
    for (const key of ['private', 'napi', 'devDependencies']) t.false(key in manifest, key)
    t.notRegex(read(folder, 'package.json'), /workspace:|[~^*]/)
    t.is(read(folder, 'LICENSE'), readFileSync(`${root}LICENSE`, 'utf8'))
    t.true(read(folder, 'README.md').length > 80)
    t.true(files.includes('THIRD-PARTY-LICENSES'))
  })

  test(`nothing of ${name} runs at install, nor of what travels inside it`, (t) => {
    const manifests = files.filter((file) => /(^|\/)package\.json$/.test(file))
    t.true(manifests.includes('package.json'))
    t.false('scripts' in manifest)
    for (const file of manifests) {
      const { scripts = {} } = JSON.parse(read(folder, file)) as { scripts?: object }
      t.deepEqual(
        Object.keys(scripts).filter((script) => /^(pre|post)?install$|^prepare$/.test(script)),
        [],
        file,
      )
    }
    // npm would call node-gyp for it.
    t.deepEqual(
      files.filter((file) => /(^|\/)binding\.gyp$/.test(file)),
      [],
    )
  })
}

for (const { name, folder, files, manifest } of packages) {
  const product = products.find((product) => product.name === name)

  test(`${name} asks for exactly its own versions, its binding's among them`, (t) => {
    const { version } = manifest
    t.deepEqual(manifest.optionalDependencies, { [product?.carrier ?? '']: version })
    const { dependencies = {}, bundledDependencies = [] } = npmManifest(`packages/${name}`)
    const wanted = Object.entries(dependencies).map(([other, wanted]) => [
      other,
      bundledDependencies.includes(other) ? wanted : version,
    ])
    t.deepEqual(manifest.dependencies, Object.fromEntries(wanted))
    t.deepEqual(manifest.bundledDependencies, bundledDependencies)
  })

  test(`${name} has modules, types and maps of each source, what is bundled, and nothing else`, (t) => {
    const sources = filesIn(`${root}packages/${name}/src`).map((file) => file.replace(/\.ts$/, ''))
    t.true(sources.includes('index'))
    const ends = ['.js', '.js.map', '.d.ts', '.d.ts.map']
    const compiled = sources.flatMap((stem) => [`src/${stem}.ts`, ...ends.map((end) => `dist/${stem}${end}`)])
    const examples = (product?.examples ?? []).map((example) => `examples/${example}`)
    const own = ['LICENSE', 'README.md', 'THIRD-PARTY-LICENSES', 'native/binding.d.ts', 'package.json']
    const bundled = (npmManifest(`packages/${name}`).bundledDependencies ?? []).map((other) => `node_modules/${other}/`)
    const ours = files.filter((file) => !bundled.some((folder) => file.startsWith(folder)))
    const documents = (product?.documents ?? []).flatMap((document) => {
      const path = `docs/${document}`
      return statSync(root + path).isDirectory() ? filesIn(root + path).map((file) => `${path}/${file}`) : [path]
    })
    t.deepEqual(ours, [...compiled, ...examples, ...documents, ...own].sort())
    for (const folder of bundled) t.true(files.includes(`${folder}package.json`), folder)
  })

  test(`a page that hints of ${name} name travels with it, or with the package that they name`, (t) => {
    const lost: string[] = []
    for (const file of files.filter((file) => /^src\/.*\.ts$/.test(file))) {
      const code = read(folder, file).replace(/\/\*\*[\s\S]*?\*\/|\/\/[^\n]*/g, '')
      for (const [, page = '', owner = name] of code.matchAll(/(docs\/[\w/-]+\.md)(?: of the package (\w+))?/g)) {
        if (!packages.find(({ name }) => name === owner)?.files.includes(page))
          lost.push(`${file}: ${page} of ${owner}`)
      }
    }
    t.deepEqual(lost, [])
  })

  test(`the source maps of ${name} lead to its sources`, (t) => {
    const maps = files.filter((file) => file.startsWith('dist/') && file.endsWith('.map'))
    t.true(maps.length > 20)
    for (const file of maps) {
      const { sources } = JSON.parse(read(folder, file)) as { sources: string[] }
      t.is(sources.length, 1, file)
      t.true(files.includes(join(dirname(file), sources[0] ?? '')), file)
      t.regex(read(folder, file.replace(/\.map$/, '')), /\/\/# sourceMappingURL=\S+\.map\s*$/, file)
    }
  })

  test(`${name} names the licences of what is bundled with it`, (t) => {
    const text = read(folder, 'THIRD-PARTY-LICENSES')
    for (const other of npmManifest(`packages/${name}`).bundledDependencies ?? []) {
      const license = readdirSync(join(folder, 'node_modules', other)).find((file) => /^licen[cs]e/i.test(file))
      t.true(text.includes(read(folder, `node_modules/${other}/${license}`).trim()), other)
    }
  })
}

/** What may be in a tarball beside our own. The same list as in scripts/lib/licenses.mjs, on purpose written twice. */
const allowed = /^(MIT|ISC|Zlib|BSD-[23]-Clause|Unicode-3\.0|BSL-1\.0|CC0-1\.0|Apache-2\.0)$/

for (const { name, folder, files, manifest } of carriers) {
  const product = products.find((product) => product.carrier === name)
  const { binding = '', crate = '' } = product ?? {}

  test(`${name} is for linux on x64 with glibc, and its binding is all that it has`, (t) => {
    t.deepEqual([manifest.os, manifest.cpu, manifest.libc, manifest.main], [['linux'], ['x64'], ['glibc'], binding])
    t.deepEqual(files, ['LICENSE', 'README.md', 'THIRD-PARTY-LICENSES', 'package.json', binding].sort())
  })

  test(`${name} names every crate in it, each with a licence that we may take, and its text`, (t) => {
    const text = read(folder, 'THIRD-PARTY-LICENSES')
    const [list = '', ...sections] = text.split(`${'-'.repeat(80)}\n`)
    const parts = new Map(
      [...list.matchAll(/^(.+) (\S+): (.+?)(?:, taken as (.+))?$/gm)].map(([, part, version, license, taken]) => [
        `${part} ${version}`,
        taken ?? license ?? '',
      ]),
    )
    const args = ['tree', '--offline', '--package', crate, '--edges', 'normal', '--prefix', 'none', '--format', '{p}']
    const lines = execFileSync('cargo', args, { cwd: root, encoding: 'utf8' }).split('\n').filter(Boolean)
    const foreign = lines
      .filter((line) => !line.includes(root.slice(0, -1)))
      .map((line) => line.replace(/^(\S+) v(\S+).*$/, '$1 $2'))
    t.true(foreign.length > 10)
    const ends = crate === 'xsknetd-node' ? ['libxdp', 'libbpf'] : []
    const expected = [
      ...foreign,
      ...[...parts.keys()].filter((part) => /^(Rust standard library|libxdp|libbpf) /.test(part)),
    ]
    t.deepEqual([...parts.keys()].sort(), [...new Set(expected)].sort())
    for (const end of ['Rust standard library', ...ends])
      t.true(
        [...parts.keys()].some((part) => part.startsWith(`${end} `)),
        end,
      )

    for (const [part, taken] of parts) for (const license of taken.split(' AND ')) t.regex(license, allowed, part)
    const owners = new Set(sections.flatMap((section) => section.split('\n', 1)[0]?.split(', ') ?? []))
    t.deepEqual([...owners].sort(), [...parts.keys()].sort())
    for (const section of sections) {
      t.true(section.length > 400, section)
      t.notRegex(section, /GNU (LESSER )?GENERAL PUBLIC LICENSE/i)
    }
  })
}

test(
  'of several licences the plainest is taken, of those that hold together ' +
    'all, and one that is not on the list stops it',
  (t) => {
    t.deepEqual(chosen('MIT/Apache-2.0'), ['MIT'])
    t.deepEqual(chosen('Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT'), ['MIT'])
    t.deepEqual(chosen('(MIT OR GPL-2.0) AND Zlib'), ['MIT', 'Zlib'])
    t.deepEqual(chosen('LGPL-2.1 OR BSD-2-Clause'), ['BSD-2-Clause'])
    for (const refused of ['GPL-2.0', 'MIT AND GPL-2.0', 'Apache-2.0 WITH LLVM-exception', 'LGPL-2.1 OR GPL-2.0', ''])
      t.throws(() => chosen(refused), { message: /is not a licence that may be published/ }, refused)
  },
)

test('no tarball is larger than its budget, which docs/packages.md names', (t) => {
  const document = readFileSync(`${root}docs/packages.md`, 'utf8')
  const kib = (bytes: number) => bytes / 1024
  for (const { name, folder, files } of all) {
    const [packed = 0, unpacked = 0] = budgets[name] ?? []
    const tarball = tarballs().find((path) => path.includes(`/${name.replace(/^@/, '').replace('/', '-')}-0`)) ?? ''
    t.true(kib(statSync(tarball).size) <= packed, name)
    t.true(kib(files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)) <= unpacked, name)
    t.regex(document, new RegExp(`\\| \`${name}\` \\|.*\\| ${packed} KiB \\| ${unpacked} KiB \\|`))
  }
})

test('the tarballs contain neither the packer’s name nor the time', (t) => {
  for (const tarball of tarballs()) {
    const entries = execFileSync('tar', ['-tzvf', tarball, '--numeric-owner', '--utc'], { encoding: 'utf8' })
      .trim()
      .split('\n')
    for (const entry of entries) t.regex(entry, /^-\S+ 0\/0 +\d+ 1985-10-26 08:15 /)
  }
})

/** Words that would tell where a build was made. */
function traces(): string[] {
  const { env } = process
  const cargo = env.CARGO_HOME ?? join(homedir(), '.cargo')
  const folders = [
    root.slice(0, -1),
    homedir(),
    `/home/${userInfo().username}`,
    cargo,
    env.CARGO_TARGET_DIR ?? '',
    env.RUSTUP_HOME ?? '',
  ]
  const builds = ['xsknet-pack-', 'xsknet-executable-'].map((name) => join(tmpdir(), name))
  const paths = folders.filter((folder) => folder.length > 1).map((folder) => `${folder}/`)

  const npm = execFileSync('npm', ['config', 'get', 'registry'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const configs = ['config.toml', 'config'].map((name) => join(cargo, name)).filter(existsSync)
  const variables = Object.entries(env).flatMap(([name, value]) =>
    /REGISTR|INDEX|MIRROR|PROXY|_URL/i.test(name) ? [value ?? ''] : [],
  )
  const texts = [npm, ...configs.map((file) => readFileSync(file, 'utf8')), ...variables]
  const hosts = texts.flatMap((text) =>
    [...text.matchAll(/\bhttps?:\/\/(?:[^/\s"'@]*@)?([^/\s"']+)/g)].map(([, host = '']) => host),
  )
  // cargo names the folder of a registry after its host.
  const registries = join(cargo, 'registry/src')
  const named = existsSync(registries)
    ? readdirSync(registries).flatMap((name) => [name, name.replace(/-[0-9a-f]+$/, '')])
    : []
  return [...new Set([...paths, ...builds, ...hosts, ...named])]
}

const words = traces()
const found = (file: string) => {
  const bytes = readFileSync(file)
  return words.filter((word) => bytes.includes(word))
}

test('tarballs and binaries contain no path of the build machine and no registry host', (t) => {
  t.true(words.length > 6, words.join(', '))
  for (const { folder, files } of all) for (const file of files) t.deepEqual(found(join(folder, file)), [], file)
  t.deepEqual(found(executable), [])
})

test('the search for such words finds each of them', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'xsknet-planted-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const word of words) {
    writeFileSync(join(folder, 'planted'), `\0${word}x\0`)
    t.true(found(join(folder, 'planted')).includes(word), word)
  }
})
