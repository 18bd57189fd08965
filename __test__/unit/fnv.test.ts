import test from 'ava'
import { fnv1a, foldedMac, nameFor } from '../helpers/attack/fnv.js'
import { Random } from '../helpers/programs/random.js'

test('a MAC is the folded hash of a text, and a name with any MAC is found in moments', (t) => {
  t.is(foldedMac(fnv1a(Buffer.from('default/web'))), 'a6:08:b9:fd:91:b3')
  const [prefix, mac] = ['lab-7-a/card0/', '26:33:44:55:66:77']
  const name = nameFor(prefix, mac, new Random(1))
  t.regex(name, /^[\w-]{32}$/)
  t.is(foldedMac(fnv1a(Buffer.from(prefix + name))), mac)
})
