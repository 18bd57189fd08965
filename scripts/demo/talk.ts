import type { PortInfo, PortStats } from 'xsknet'
import type { Client } from '../../__test__/helpers/client.js'
import { HOST, type Lab, portAddresses } from '../../__test__/helpers/lab.js'
import type { Program } from '../../__test__/helpers/program.js'
import { waitUntil } from '../../__test__/helpers/program.js'
import type { Report } from './report.js'
import { spoofs } from './spoofs.js'
import { losses, sum } from './statistics.js'

const PINGS = 100

/** The third client asks the other two, without touching the wire. */
export async function portToPort(report: Report, third: Client, others: readonly string[]): Promise<void> {
  for (const [n, name] of others.entries()) {
    for (const address of portAddresses(n)) {
      const mac = await third.ask<string | null>({ do: 'resolve', address })
      if (!mac) {
        report.tell(false, `third asked who has ${address}: no answer`)
        continue
      }
      const to = { address, mac }
      const questions = {
        ping: { do: 'ping', to, count: PINGS },
        'UDP echo, 512 B': { do: 'udpEcho', to, length: 512, count: PINGS },
      }
      for (const [what, question] of Object.entries(questions)) {
        const { answered, median } = await third.ask<{ answered: number; median: number }>(question)
        const line = `third -> ${name.padEnd(6)} ${what.padEnd(16)} ${address.padEnd(15)} ${answered} of ${PINGS}`
        report.tell(answered === PINGS, `${line}  rtt median ${median.toFixed(1)} us`)
      }
    }
  }
}

/** What the guard is for: each of these is dropped, and counted under its reason. */
export async function spoofing(report: Report, third: Client, info: PortInfo): Promise<void> {
  const guard = async () => {
    const { daemon } = await third.ask<PortStats>({ do: 'stats' })
    if (!daemon) throw new Error('the daemon has left the third client')
    return daemon.guard
  }
  for (const { what, reason, frame } of spoofs(info)) {
    const before = await guard()
    await third.ask({ do: 'send', frame: Buffer.from(frame).toString('hex') })
    let after = before
    await waitUntil(`${what} seen by the guard`, async () => {
      after = await guard()
      return after.seen > before.seen
    })
    const entries = Object.entries(after.dropped).map(
      ([why, frames]) => [why, frames - (before.dropped[why] ?? 0)] as const,
    )
    const dropped = Object.fromEntries(entries)
    const good = after.seen - before.seen === 1 && dropped[reason] === 1 && sum(Object.values(dropped)) === 1
    report.tell(good, `third sends ${what.padEnd(22)} dropped by the guard: ${losses({ dropped })}`)
  }
}

/** Real programs on the remote host ask a port. */
export async function remoteAsks(report: Report, lab: Lab, name: string, n: number): Promise<void> {
  for (const address of portAddresses(n)) {
    await ping(report, lab, name, address)
    await udpEcho(report, lab, name, address)
    await dig(report, lab, name, address, n)
  }
}

/** What no port claims is still the host's. */
export async function remoteAsksHost(report: Report, lab: Lab): Promise<void> {
  for (const address of [HOST.v4, HOST.v6]) await ping(report, lab, 'host', address)
}

async function ping(report: Report, lab: Lab, name: string, address: string): Promise<void> {
  const { stdout } = await lab.remote.run('ping', '-q', '-i', '0.005', '-W', '1', '-c', `${PINGS}`, address)
  const received = / (\d+) received/.exec(stdout)?.[1] ?? '0'
  const mean = Number(/^rtt .* = [\d.]+\/([\d.]+)\//m.exec(stdout)?.[1]) * 1000
  const what = address.includes(':') ? 'ping -6' : 'ping'
  report.tell(
    received === `${PINGS}`,
    `${asked(name, what, address)} ${received} of ${PINGS}  rtt mean ${mean.toFixed(1)} us`,
  )
}

/** Each length once, compared byte for byte. */
async function udpEcho(report: Report, lab: Lab, name: string, address: string): Promise<void> {
  const longest = address.includes(':') ? 1452 : 1472
  const lengths = [1, 64, 512, longest]
  const { identical, seconds } = await lab.udpEcho(address, lengths)
  const each = ((seconds / lengths.length) * 1e6).toFixed(1)
  const line =
    `${asked(name, 'UDP echo', address)} ${identical} of ${lengths.length} ` +
    `identical, 1 to ${longest} B  ${each} us each`
  report.tell(identical === lengths.length, line)
}

async function dig(report: Report, lab: Lab, name: string, server: string, n: number): Promise<void> {
  const expected = portAddresses(n)
  const answers: string[] = []
  for (const type of ['A', 'AAAA']) {
    const { stdout } = await lab.remote.run(
      'dig',
      '+short',
      '+tries=1',
      '+time=2',
      `@${server}`,
      `${name}.example`,
      type,
    )
    answers.push(stdout.trim())
  }
  report.tell(
    answers.join() === expected.join(),
    `${asked(name, 'dig A, AAAA', server)} ${name}.example is ${answers.join(', ')}`,
  )
}

const asked = (name: string, what: string, address: string) =>
  `remote -> ${name.padEnd(6)} ${what.padEnd(16)} ${address.padEnd(15)}`

/** The last round trip that a ping has printed. */
export function roundTrip(ping: Program): string | undefined {
  const line = ping.lines.findLast((line) => line.includes('time='))
  const time = /time=([\d.]+) ms/.exec(line ?? '')?.[1]
  return time && `${line?.includes('::') ? 'ping -6' : 'ping'} ${(Number(time) * 1000).toFixed(0)} us`
}

/** What a ping says when it is interrupted. */
export function pinged({ lines }: Program): { asked: number; answered: number } {
  const summary = lines.find((line) => line.includes('packets transmitted')) ?? ''
  const [asked = 1, answered = 0] = [...summary.matchAll(/(\d+) (?:packets transmitted|received)/g)].map(([, number]) =>
    Number(number),
  )
  return { asked, answered }
}
