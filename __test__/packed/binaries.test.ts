import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import test from 'ava'
import { OLDEST_GLIBC } from '../../packages/xsknet/src/platform/platform.js'
import { products } from '../../scripts/lib/products.mjs'
import { unpacked } from '../helpers/packed.js'
import { root } from '../helpers/workspace.js'

const all = unpacked()
const print = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 28, stdio: ['ignore', 'pipe', 'ignore'] })

const bindings = products.map(({ name, folder, binding, carrier }) => {
  const install = all.find((each) => each.name === carrier)?.folder ?? ''
  return { name, packed: join(install, binding), built: `${root}${folder}/native/${binding}`, folder, binding }
})
const [client, daemon] = bindings as [(typeof bindings)[number], (typeof bindings)[number]]

/** What comes with glibc, and what its compiler needs at run time, which Node's own binary needs too. */
const library = /^(libc\.so\.6|libm\.so\.6|ld-linux-x86-64\.so\.2|libgcc_s\.so\.1)$/

for (const { name, packed } of bindings) {
  test(`the binding of ${name} needs glibc and what comes with it, and nothing else`, (t) => {
    const needed = [...print('readelf', '-d', packed).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, file = '']) => file)
    t.true(needed.includes('libc.so.6'))
    for (const file of needed) t.regex(file, library)
    t.notRegex(print('readelf', '-d', packed), /\((RPATH|RUNPATH)\)/)
    // Nor does anything that those need.
    const loaded = [...print('ldd', packed).matchAll(/^\s+(\S+) /gm)].map(([, path = '']) => path.replace(/.*\//, ''))
    for (const file of loaded) if (file !== 'linux-vdso.so.1') t.regex(file, library)
  })

  test(`the binding of ${name} loads on glibc ${OLDEST_GLIBC}, and on none that is older`, (t) => {
    const asked = new Set(
      [...print('objdump', '-T', packed).matchAll(/GLIBC_([0-9.]+)/g)].map(([, version = '']) => version),
    )
    const newest = [...asked].sort((one, other) => one.localeCompare(other, 'en', { numeric: true })).at(-1)
    t.is(
      newest,
      OLDEST_GLIBC,
      'a compiler beside a newer glibc asks for newer symbols: pack on Debian 12, or claim less',
    )
    for (const page of [`${root}packages/${name}/README.md`, `${root}docs/packages.md`])
      t.true(readFileSync(page, 'utf8').includes(`glibc ${OLDEST_GLIBC}`), page)
  })

  test(`the binding of ${name} shows other libraries nothing but its entry`, (t) => {
    const shown = print('nm', '-D', '--defined-only', packed).trim().split('\n')
    t.deepEqual(
      shown.map((line) => line.split(' ').at(-1)),
      ['napi_register_module_v1'],
    )
  })
}

/** What only a daemon has inside: by the names that the linker knew, */
const machinery = new RegExp(
  '^(xsk_(socket|umem)__|xdp_program__|libxdp_|libbpf_|bpf_object__|bpf_prog_|elf_begin|gelf_|' +
    String.raw`.*\b(aya|aya_obj|netlink_\w+|xsk_rs)(::|\d))`,
)
/** and by words that are left when those are gone. */
const remains = /libbpf|libxdp|BPF_PROG_LOAD|netlink|\.BTF|rtnetlink/i

test(
  'the binding of the client has no libxdp, libbpf, libelf, loader of BPF or netlink in it, ' + 'and the daemon’s has',
  (t) => {
    const symbols = (file: string) =>
      print('nm', '--demangle', file)
        .split('\n')
        .map((line) => line.slice(19))
        .filter((symbol) => machinery.test(symbol))
    const strings = (file: string) =>
      print('strings', '-n', '4', file)
        .split('\n')
        .filter((text) => remains.test(text))
    t.deepEqual(symbols(client.built), [])
    t.deepEqual(strings(client.packed), [])
    for (const what of [/^xsk_socket__/, /^xdp_program__/, /^libbpf_/, /^elf_begin/, /aya/, /netlink/])
      t.true(
        symbols(daemon.built).some((symbol) => what.test(symbol)),
        String(what),
      )
    t.true(strings(daemon.packed).length > 10)
  },
)

test('the programs of libxdp, which are GPL-2.0, are not in the daemon’s', (t) => {
  const symbols = print('nm', daemon.built)
  // The linker makes the size of what is really there.
  t.regex(symbols, / _binary_xdp_dispatcher_o_start$/m)
  t.notRegex(symbols, / _binary_\w+_o_size$/m)
})

/** What JavaScript sees of a binding: its functions, and its classes with their members. */
function surface(file: string): unknown {
  const script = `
    const members = (object) => Object.getOwnPropertyNames(object).sort()
    const told = {}
    const binding = require(process.argv[1])
    for (const name of members(binding)) {
      const { prototype } = binding[name] ?? {}
      told[name] = [typeof binding[name], prototype ? [members(binding[name]), members(prototype)] : []]
    }
    console.log(JSON.stringify(told))`
  return JSON.parse(print(process.execPath, '--eval', script, file))
}

test('a binding that is compiled for debugging and the packed one have one API', async (t) => {
  t.timeout(900_000, 'the crates of the bindings are compiled once more')
  const place = mkdtempSync(join(tmpdir(), 'xsknet-debug-'))
  t.teardown(() => rmSync(place, { recursive: true }))
  for (const { name, packed, folder, binding } of bindings) {
    const cwd = `${root}${folder}`
    const out = join(place, name)
    const words = ['build', '--platform', '--release', '--manifest-path', `../../crates/node-${name}/Cargo.toml`]
    const files = ['--output-dir', out, '--no-js', '--dts', 'binding.d.ts']
    // What JavaScript sees is in this one crate; the crates below it are compiled already.
    const debugging = ['debug-assertions=true', 'overflow-checks=true', 'opt-level=0'].flatMap((setting) => [
      '--config',
      `profile.release.package.${name}-node.${setting}`,
    ])
    const all = [...words, ...files, '--', ...debugging]
    await promisify(execFile)(`${root}node_modules/.bin/napi`, all, { cwd, maxBuffer: 2 ** 26 })
    t.is(readFileSync(join(out, 'binding.d.ts'), 'utf8'), readFileSync(`${cwd}/native/binding.d.ts`, 'utf8'))
    const seen = surface(packed)
    t.true(Object.keys(seen as object).length > 3, name)
    t.deepEqual(surface(join(out, binding)), seen, name)
  }
})
