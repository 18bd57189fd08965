import test from 'ava'
import { nearest, sentence } from '../../packages/xsknet/src/connection/suggestions.js'

const known = ['addresses', 'uplinks', 'innerTags', 'broadcast', 'unknownUnicast', 'ports']
for (const [name, meant] of [
  ['adresses', 'addresses'],
  ['addreses', 'addresses'],
  ['uplniks', 'uplinks'],
  ['innertags', 'innerTags'],
  ['inner-tags', 'innerTags'],
  ['inner_tags', 'innerTags'],
  ['unicast', 'unknownUnicast'],
  ['port', 'ports'],
  ['colour', undefined],
  ['', undefined],
  ['toString', undefined],
  ['a'.repeat(60_000), undefined],
] as const) {
  test(`${name.slice(0, 20) || 'nothing'} was meant as ${meant ?? 'nothing that is known'}`, (t) =>
    t.is(nearest(name, known), meant))
}

for (const [hint, told] of [
  ['mount one: mount -t bpf bpf /sys/fs/bpf', 'Mount one: mount -t bpf bpf /sys/fs/bpf.'],
  ['`ip link` lists the devices', '`ip link` lists the devices.'],
  ['/proc/sys is read-only here', '/proc/sys is read-only here.'],
  ['user.max_net_namespaces is too low', 'user.max_net_namespaces is too low.'],
  ['kernel.unprivileged_bpf_disabled has to be 0', 'kernel.unprivileged_bpf_disabled has to be 0.'],
  ['check the name; was the device renamed?', 'Check the name; was the device renamed?'],
  ['A sentence.', 'A sentence.'],
] as const) {
  test(`the hint "${hint}" is told as a sentence`, (t) => t.is(sentence(hint), told))
}
