// npm run pack: makes what is published, in packed/: a tarball for each package and for each platform package, and the
// daemon as one executable.
import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { build } from './build.mjs'
import { packExecutable } from './executable.mjs'
import { thirdPartyLicenses } from './lib/licenses.mjs'
import { budgets, platform, products } from './lib/products.mjs'
import { isMain, main, root, Stop } from './lib/run.mjs'
import { setup } from './setup.mjs'

const packed = `${root}packed/`
const LICENSES = 'THIRD-PARTY-LICENSES'

/** Packs what `build()` has made. */
export async function pack() {
  rmSync(packed, { recursive: true, force: true })
  mkdirSync(packed)
  const staging = mkdtempSync(join(tmpdir(), 'xsknet-pack-'))
  try {
    const folders = products.flatMap((product) => [stagePackage(staging, product), stageCarrier(staging, product)])
    weigh(packFolders(folders))
    await packExecutable({ outFile: `${packed}xsknetd`, licensed: folders })
  } finally {
    rmSync(staging, { recursive: true })
  }
}

function stagePackage(staging, { name, folder, carrier, examples, documents }) {
  const source = `${root}${folder}`
  const staged = join(staging, name)
  const { private: _, napi: __, ...manifest } = manifestOf(source)
  // Only what belongs to a source of today: dist/ keeps the output of sources that are gone.
  for (const file of readdirSync(join(source, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue
    const stem = file.replace(/\.ts$/, '')
    copy(join(source, 'src', file), join(staged, 'src', file))
    for (const end of ['.js', '.js.map', '.d.ts', '.d.ts.map'])
      copy(join(source, 'dist', stem + end), join(staged, 'dist', stem + end))
  }
  copy(join(source, 'native/binding.d.ts'), join(staged, 'native/binding.d.ts'))
  copy(join(source, 'README.md'), join(staged, 'README.md'))
  copy(`${root}LICENSE`, join(staged, 'LICENSE'))
  for (const example of examples) copy(`${root}examples/${example}`, join(staged, 'examples', example))
  for (const document of documents) copy(`${root}docs/${document}`, join(staged, 'docs', document))
  for (const file of readdirSync(staged, { recursive: true, encoding: 'utf8' })) {
    if (file.endsWith('.d.ts')) withoutParameters(join(staged, file))
  }
  const modules = manifest.bundledDependencies.map((bundled) =>
    stageBundled(source, bundled, join(staged, 'node_modules', bundled)),
  )
  writeFileSync(join(staged, LICENSES), thirdPartyLicenses({ modules }))

  const exact = ([dependency, wanted]) => [dependency, wanted === 'workspace:*' ? manifest.version : wanted]
  const dependencies = Object.fromEntries(Object.entries(manifest.dependencies).map(exact))
  const optionalDependencies = { [carrier]: manifest.version }
  const files = ['dist', 'native', 'src', 'examples', 'docs', LICENSES]
  writeManifest(staged, { ...manifest, files, dependencies, optionalDependencies })
  return staged
}

/** TypeScript before 5.7 knows typed arrays without parameters alone, and takes no declarations with them. */
function withoutParameters(file) {
  writeFileSync(file, readFileSync(file, 'utf8').replace(/\b(\w+Array)<ArrayBuffer(Like)?>/g, '$1'))
}

/**
 * npm packs no links, and pnpm makes nothing else. What a bundled package needs itself would be missing: none of ours
 * does.
 */
function stageBundled(source, name, staged) {
  const folder = realpathSync(join(source, 'node_modules', name))
  const needed = Object.keys(manifestOf(folder).dependencies ?? {})
  if (needed.length > 0) throw new Stop(`${name} needs ${needed.join(', ')}, which would have to travel too`)
  cpSync(folder, staged, {
    recursive: true,
    filter: (path) => path === folder || !path.slice(folder.length).startsWith('/node_modules'),
  })
  return staged
}

function stageCarrier(staging, { name, folder, crate, binding, carrier }) {
  const source = `${root}${folder}`
  const staged = join(staging, carrier)
  const { version, license, engines } = manifestOf(source)
  const { os, cpu, libc, triple } = platform
  copy(join(source, 'native', binding), join(staged, binding))
  execFileSync('strip', ['--strip-unneeded', join(staged, binding)])
  copy(`${root}LICENSE`, join(staged, 'LICENSE'))
  writeFileSync(join(staged, LICENSES), thirdPartyLicenses({ crates: [crate] }))
  const description = `The native part of ${name} for ${triple}`
  writeFileSync(join(staged, 'README.md'), `# ${carrier}\n\n${description}. It is of no use alone: install ${name}.\n`)
  writeManifest(staged, {
    name: carrier,
    version,
    description,
    license,
    engines,
    os,
    cpu,
    libc,
    main: binding,
    files: [binding, LICENSES],
  })
  return staged
}

function packFolders(folders) {
  const options = ['--ignore-scripts', '--json', '--loglevel=error', '--pack-destination', packed]
  const json = execFileSync('npm', ['pack', ...options, ...folders], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return JSON.parse(json)
}

/** Prints how large each tarball is, and refuses one that is too large. */
function weigh(tarballs) {
  const kib = (bytes) => Math.ceil(bytes / 1024)
  const rows = tarballs.map(({ name, filename, size, unpackedSize, entryCount }) => {
    const [budget, unpackedBudget] = budgets[name]
    return { filename, files: entryCount, packed: kib(size), budget, unpacked: kib(unpackedSize), unpackedBudget }
  })
  console.log('\npacked/, in KiB:')
  console.table(rows)
  const heavy = rows.filter((row) => row.packed > row.budget || row.unpacked > row.unpackedBudget)
  if (heavy.length > 0)
    throw new Stop(`${heavy.map(({ filename }) => filename).join(', ')}: above the budget of scripts/lib/products.mjs`)
}

function copy(from, to) {
  if (!existsSync(from)) throw new Stop(`${from.replace(root, '')} is missing: \`npm run build\` makes it`)
  mkdirSync(dirname(to), { recursive: true })
  cpSync(from, to, { recursive: true })
}

const manifestOf = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
const writeManifest = (folder, manifest) =>
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)

if (isMain(import.meta.url)) {
  await main(async () => {
    await setup()
    await build()
    await pack()
  })
}
