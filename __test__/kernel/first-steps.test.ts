import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { withRightsOf } from '../helpers/client.js'
import { GRANT, NOBODY } from '../helpers/daemon.js'
import { Place, program } from '../helpers/fresh.js'
import { executable, nodes, packed, tarballs } from '../helpers/installed.js'
import { CARD, portAddresses } from '../helpers/lab.js'
import { Reader } from '../helpers/page.js'
import { inside, Program, run, waitUntil } from '../helpers/program.js'

/** The oldest Node that runs TypeScript as it is. */
const node = nodes().find(([version]) => version.startsWith('22.'))?.[1] as string

test.serial('docs/getting-started.md leads to an answered ping, from top to bottom', async (t) => {
  const reader = await Reader.sit(t, node, ['nsenter', 'ping', 'setpriv'], { PACKED: packed })
  await t.notThrowsAsync(reader.read('docs/getting-started.md'))
})

/** All that may be left of a lab and a daemon on this machine. */
const look = () => ({
  devices: execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' }),
  mounts: readFileSync('/proc/self/mounts', 'utf8'),
  run: ['/run/netns', '/run/xsknet'].filter(existsSync),
})

/**
 * A user with Node, npm and coreutils, an empty home, no network and nothing else, who installs the tarballs in an
 * empty folder.
 */
class Newcomer {
  readonly place: Place
  readonly folder: string
  readonly path: string

  constructor(t: ExecutionContext) {
    this.place = new Place(t)
    this.path = this.place.path('bin', this.place.nodeAndNpm(node))
    this.folder = join(this.place.folder, 'first-steps')
    execFileSync('mkdir', [this.folder])
    writeFileSync(join(this.folder, 'package.json'), '{ "private": true, "type": "module" }\n')
  }

  /** The command, in this user's environment. */
  command(...command: string[]): string[] {
    return this.place.command(this.path, {}, command)
  }

  async install(t: ExecutionContext): Promise<void> {
    const alone = [program('unshare'), '--net', '--', 'env', '-C', this.folder]
    const { code, stdout, stderr } = await run(this.command(...alone, 'npm', 'install', '--offline', ...tarballs()))
    t.is(code, 0, stdout + stderr)
    t.deepEqual(
      readdirSync(join(this.folder, 'node_modules'))
        .filter((name) => !name.startsWith('.'))
        .sort(),
      ['@xsknet', 'xsknet', 'xsknetd'],
    )
    cpSync(join(this.folder, 'node_modules/xsknet/examples'), this.folder, { recursive: true })
    execFileSync('chmod', ['-R', 'a+rX', this.folder])
  }

  /** An example, as nobody, with the grant alone. */
  async example(t: ExecutionContext, file: string, socket: string, begun: RegExp): Promise<Program> {
    const [setpriv, ...rights] = withRightsOf(NOBODY)
    const env = ['env', `XSKNET_SOCKET=${socket}`, 'node', join(this.folder, file)]
    const example = new Program(this.command(program(setpriv as string), ...rights, ...env))
    t.teardown(async () => void (await example.kill()))
    await example.waitFor(begun, 20_000)
    return example
  }
}

/** Sends datagrams to the echo port and compares what comes back, from a socket of the far end's kernel. */
const asking = (address: string, lengths: readonly number[]) => `
  const socket = require('node:dgram').createSocket('udp${address.includes(':') ? 6 : 4}')
  const questions = ${JSON.stringify(lengths)}.map((length, n) => Buffer.alloc(length, n + 1))
  const end = () => socket.close(() => console.log('all came back'))
  const next = () => questions.length > 0 ? socket.send(questions[0], 7, '${address}') : end()
  socket.on('message', (answer) => (answer.equals(questions.shift()) ? next() : process.exit(1)))
  setTimeout(() => process.exit(2), 10_000).unref()
  next()`

interface Way {
  title: string
  /** What calls the daemon, */
  xsknetd(newcomer: Newcomer): string
  /** with this PATH, */
  path(newcomer: Newcomer): string
  /** on which a Node is, or none. */
  hasNode: boolean
  /** How it says that the first example is started. */
  example(newcomer: Newcomer): string
}

const ways: Way[] = [
  {
    title: 'the packages',
    xsknetd: ({ folder }) => join(folder, 'node_modules/.bin/xsknetd'),
    path: ({ path }) => path,
    hasNode: true,
    example: ({ folder }) => `cd ${folder} && cp node_modules/xsknet/examples/ping.ts . && node ping.ts`,
  },
  {
    title: 'the executable, with no Node in reach',
    xsknetd: () => executable,
    path: ({ place }) => place.path('bin-without-node', []),
    hasNode: false,
    example: () => 'node ping.ts',
  },
]

for (const way of ways) {
  test.serial(`installed offline without any tool, three examples answer real traffic: ${way.title}`, async (t) => {
    const before = look()
    const newcomer = new Newcomer(t)
    await newcomer.install(t)
    const { place } = newcomer
    const [xsknetd, path] = [way.xsknetd(newcomer), way.path(newcomer)]
    t.is((await run(place.command(path, {}, ['node', '--version']))).code === 0, way.hasNode)
    const daemonWords = place.command(path, {}, [xsknetd])

    const name = `first-${process.pid}`
    const socket = `/run/xsknet/${name}.sock`
    const xsk = async (...words: string[]) => {
      const { code, stdout, stderr } = await run([...daemonWords, ...words])
      t.is(code, 0, `xsknetd ${words.join(' ')}: ${stdout}${stderr}`)
      return stdout
    }
    t.teardown(async () => void (await run([...daemonWords, 'lab', '--down', '--name', name])))
    const told = await xsk('lab', '--name', name)
    t.true(told.includes(`/xsknet-${name}-host -- ${xsknetd} run --uplink ${CARD} --instance ${name}\n`), told)
    t.true(told.includes(`\n    export XSKNET_SOCKET=${socket}; ${way.example(newcomer)}\n`), told)
    const far = (...command: string[]) => run(inside(`/run/netns/xsknet-${name}-remote`, command))

    const config = join(newcomer.folder, 'grants.toml')
    writeFileSync(config, GRANT)
    const options = ['--uplink', CARD, '--instance', name, '--config', config]
    const daemon = new Program(inside(`/run/netns/xsknet-${name}-host`, [...daemonWords, 'run', ...options]))
    // Before the lab goes: a daemon that is killed leaves what only a start in its namespace finds.
    t.teardown(async () => {
      if (daemon.running) await daemon.stop()
    })
    await daemon.waitFor(/\bready\b/, 20_000)
    const ping = await newcomer.example(t, 'ping.ts', socket, /^answering ping on card0 as 192\.0\.2\.10\/24, /)
    const echo = await newcomer.example(
      t,
      'echo.ts',
      socket,
      /^sending UDP to port 7 back on card0 as 192\.0\.2\.11\/24, /,
    )
    const count = await newcomer.example(t, 'count.ts', socket, /^counting on card0 as 192\.0\.2\.12\/24, /)
    t.is((await xsk('ports', '--instance', name)).match(/user 65534|65534/g)?.length, 3)

    for (const address of portAddresses(0)) {
      const { stdout } = await far('ping', '-n', '-c', '20', '-i', '0.01', '-W', '2', address)
      t.regex(stdout, /20 packets transmitted, 20 received, 0% packet loss/)
    }
    for (const address of portAddresses(1)) {
      const { code, stdout } = await far(node, '--eval', asking(address, [1, 7, 512, 1452]))
      t.is(code, 0)
      t.is(stdout, 'all came back\n')
    }
    // It answers nobody but who asks for its address.
    const [v4, v6] = portAddresses(2)
    t.regex(
      (await far('ping', '-n', '-c', '7', '-i', '0.01', '-W', '1', v4)).stdout,
      /7 packets transmitted, 0 received/,
    )
    const sending = `const socket = require('node:dgram').createSocket('udp6')
      let left = 50
      const next = () => (left-- > 0 ? socket.send('x', 9, '${v6}', next) : socket.close())
      next()`
    t.is((await far(node, '--eval', sending)).code, 0)
    await count.waitFor(/^(?=.*\b50 UDP\b)(?=.*\b7 ICMP\b)(?=.*\b\d+ ARP\b)(?=.*\b\d+ ICMPv6\b)/)

    for (const [example, last] of [
      [ping, /^(4[2-9]|5\d) frames answered$/], // 40 pings, and who asked for the addresses
      [echo, /^8 datagrams sent back$/],
      [count, /\b50 UDP\b/],
    ] as const) {
      t.deepEqual(await example.stop('SIGINT'), { code: 0, signal: null }, example.lines.join('\n'))
      t.regex(example.lines.at(-1) as string, last, example.lines.join('\n'))
    }
    await waitUntil(
      'closed by the daemon',
      async () => JSON.parse(await xsk('ports', '--json', '--instance', name)).length === 0,
    )
    t.deepEqual(await daemon.stop(), { code: 0, signal: null }, daemon.lines.join('\n'))
    t.regex(await xsk('lab', '--down', '--name', name), / was removed: /)
    t.deepEqual(look(), before)
    t.deepEqual(
      readdirSync(newcomer.place.home).filter((file) => file !== '.npm'),
      [],
    )
  })
}
