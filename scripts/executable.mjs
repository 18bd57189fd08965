// Makes `xsknetd` one executable: a Node, the daemon bundled to one script, and both bindings. It needs neither Node
// nor npm where it runs. `node scripts/executable.mjs [FILE]` makes it from what `npm run build` has built.
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { products } from './lib/products.mjs'
import { isMain, main, must, root, Stop } from './lib/run.mjs'

// The newest Node whose binary needs no library that a plain Debian or Ubuntu lacks: those of Node 25 and 26 need
// libatomic.
const NODE = `${root}__test__/node_modules/node-24/`

/** The most that the executable may have, in bytes. */
const BUDGET = 120 * 2 ** 20

/**
 * @param {object} options
 * @param {string} options.outFile Where it is to lie.
 * @param {string[]} [options.licensed] The folders of what is in it beside Node. Their licences and Node's then lie
 * beside it.
 */
export async function packExecutable({ outFile, licensed }) {
  const folder = mkdtempSync(join(tmpdir(), 'xsknet-executable-'))
  try {
    const made = join(folder, basename(outFile))
    const assets = Object.fromEntries(products.map(({ name, binding }) => [name, binding]))
    const stripped = (from, to) => must('strip', ['--strip-unneeded', '-o', to, from], { cwd: folder })
    for (const { folder, binding } of products) await stripped(`${root}${folder}/native/${binding}`, binding)
    await stripped(`${NODE}bin/node`, made)

    const main = await bundled((name) =>
      createHash('sha256')
        .update(readFileSync(join(folder, assets[name])))
        .digest('hex'),
    )
    writeFileSync(join(folder, 'main.cjs'), main)
    // Paths stay relative, since that of the script is kept. No code cache: it would be another one each time, and
    // saves nothing.
    const settings = { main: 'main.cjs', output: 'blob', assets, disableExperimentalSEAWarning: true }
    // Neither `NODE_OPTIONS` of a user's shell nor an inspector may control a process with root's rights.
    writeFileSync(
      join(folder, 'sea.json'),
      JSON.stringify({ ...settings, execArgv: ['--disable-sigusr1'], execArgvExtension: 'none' }),
    )
    await must(`${NODE}bin/node`, ['--experimental-sea-config', 'sea.json'], { cwd: folder })
    const { inject } = await import('postject')
    await quietly(() =>
      inject(made, 'NODE_SEA_BLOB', readFileSync(join(folder, 'blob')), {
        sentinelFuse: 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2',
      }),
    )
    chmodSync(made, 0o755)

    const { size } = statSync(made)
    if (size > BUDGET)
      throw new Stop(`${basename(outFile)} has ${mebibytes(size)}, more than its budget of ${mebibytes(BUDGET)}`)
    mkdirSync(dirname(outFile), { recursive: true })
    // Beside it and then renamed: an executable that runs cannot be written to.
    const beside = `${outFile}.new`
    copyFileSync(made, beside)
    renameSync(beside, outFile)
    if (licensed)
      writeFileSync(`${outFile}.licenses.txt`, licensesOf([`${NODE}LICENSE`, ...licensed.flatMap(licensesIn)]))
    console.log(`\n${outFile}: ${mebibytes(size)} of at most ${mebibytes(BUDGET)}`)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The daemon as one CommonJS script. Modules that load bindings are replaced. */
async function bundled(digestOf) {
  const loader = (name) => `
    import { loadAsset } from ${JSON.stringify(`${root}scripts/executable/assets.ts`)}
    export const loadBinding = () => loadAsset('${name}', '${digestOf(name)}')`
  const replaced = new Map(products.map(({ name, folder }) => [bindingModule(folder), loader(name)]))
  const unused = new Set(replaced.keys())
  const replacing = {
    name: 'replacing',
    setup({ onLoad }) {
      onLoad({ filter: /\/packages\/[^/]+\/dist\/.+\.js$/ }, ({ path }) => {
        const module = path.slice(root.length)
        if (!unused.delete(module)) return undefined
        return { contents: replaced.get(module), loader: 'js', resolveDir: dirname(path) }
      })
    },
  }
  const { build } = await import('esbuild')
  const { outputFiles, warnings } = await build({
    absWorkingDir: root,
    entryPoints: ['packages/xsknetd/dist/cli.js'],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    keepNames: true,
    write: false,
    legalComments: 'none', // they are in the licences beside it
    logLevel: 'warning',
    plugins: [replacing],
  })
  if (unused.size > 0) throw new Stop(`the executable’s bundle lacks ${[...unused].join(', ')}`)
  if (warnings.length > 0) throw new Stop('the executable’s bundle is not clean')
  return outputFiles[0].text
}

/** The built module of a package that loads its binding. */
function bindingModule(folder) {
  const sources = readdirSync(`${root}${folder}/src`, { recursive: true, encoding: 'utf8' })
  const source = sources.find((file) => basename(file) === 'binding.ts')
  if (source === undefined) throw new Stop(`${folder} has no binding.ts`)
  return `${folder}/dist/${source.replace(/\.ts$/, '.js')}`
}

/** The files with licences in a package, and in what travels inside it. */
function licensesIn(folder) {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return files
    .filter((file) => /^(licen[cs]e|third-party)[^/]*$/i.test(basename(file)))
    .map((file) => join(folder, file))
}

/** Each text once, under the names of the packages that have it. */
function licensesOf(files) {
  const texts = new Map()
  for (const file of files) {
    const text = readFileSync(file, 'utf8').trim()
    const { name, version } = JSON.parse(readFileSync(join(dirname(file), 'package.json'), 'utf8'))
    texts.set(text, (texts.get(text) ?? new Set()).add(`${name} ${version}`))
  }
  const rule = '='.repeat(80)
  return [...texts].map(([text, names]) => `${rule}\n${[...names].join('\n')}\n${rule}\n\n${text}\n`).join('\n')
}

/** What writes the blob into Node warns of each section that `strip` took the name of. */
async function quietly(body) {
  const { write } = process.stderr
  process.stderr.write = () => true
  try {
    await body()
  } finally {
    process.stderr.write = write
  }
}

const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`

if (isMain(import.meta.url)) {
  await main(async () => {
    await packExecutable({ outFile: resolve(process.argv[2] ?? `${root}packed/xsknetd`) })
  })
}
