// npm run pack: makes what is published, in packed/: a tarball for each package and for each platform package, and the daemon
// as one executable.
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
import { platform, products, tarballOf } from './lib/products.mjs'
import { isMain, main, root, Stop } from './lib/run.mjs'
import { setup } from './setup.mjs'

const packed = `${root}packed/`

/** Packs what `build()` has made. */
export async function pack() {
  rmSync(packed, { recursive: true, force: true })
  mkdirSync(packed)
  const staging = mkdtempSync(join(tmpdir(), 'xsknet-pack-'))
  try {
    const folders = products.flatMap((product) => [stagePackage(staging, product), stageCarrier(staging, product)])
    packFolders(folders)
    await packExecutable({ outFile: `${packed}xsknetd`, licensed: folders })
  } finally {
    rmSync(staging, { recursive: true })
  }
}

function stagePackage(staging, { name, folder, carrier, examples }) {
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
  for (const bundled of manifest.bundledDependencies) stageBundled(source, bundled, join(staged, 'node_modules', bundled))

  const exact = ([dependency, wanted]) => [dependency, wanted === 'workspace:*' ? manifest.version : wanted]
  const dependencies = Object.fromEntries(Object.entries(manifest.dependencies).map(exact))
  const optionalDependencies = { [carrier]: manifest.version }
  writeManifest(staged, { ...manifest, files: ['dist', 'native', 'src', 'examples'], dependencies, optionalDependencies })
  return staged
}

/** npm packs no links, and pnpm makes nothing else. What a bundled package needs itself would be missing: none of ours does. */
function stageBundled(source, name, staged) {
  const folder = realpathSync(join(source, 'node_modules', name))
  const needed = Object.keys(manifestOf(folder).dependencies ?? {})
  if (needed.length > 0) throw new Stop(`${name} needs ${needed.join(', ')}, which would have to travel too`)
  cpSync(folder, staged, {
    recursive: true,
    filter: (path) => path === folder || !path.slice(folder.length).startsWith('/node_modules'),
  })
}

function stageCarrier(staging, { name, folder, binding, carrier }) {
  const source = `${root}${folder}`
  const staged = join(staging, carrier)
  const { version, license, engines } = manifestOf(source)
  const { os, cpu, libc, triple } = platform
  copy(join(source, 'native', binding), join(staged, binding))
  execFileSync('strip', ['--strip-unneeded', join(staged, binding)])
  copy(`${root}LICENSE`, join(staged, 'LICENSE'))
  const description = `The native part of ${name} for ${triple}`
  writeFileSync(join(staged, 'README.md'), `# ${carrier}\n\n${description}. It is of no use alone: install ${name}.\n`)
  writeManifest(staged, { name: carrier, version, description, license, engines, os, cpu, libc, main: binding, files: [binding] })
  return staged
}

function packFolders(folders) {
  const options = ['--ignore-scripts', '--silent', '--pack-destination', packed]
  execFileSync('npm', ['pack', ...options, ...folders], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
  for (const { name, version } of folders.map(manifestOf)) {
    if (!existsSync(join(packed, tarballOf(name, version)))) throw new Stop(`npm pack made no tarball of ${name}`)
  }
}

function copy(from, to) {
  if (!existsSync(from)) throw new Stop(`${from.replace(root, '')} is missing: \`npm run build\` makes it`)
  mkdirSync(dirname(to), { recursive: true })
  cpSync(from, to)
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
