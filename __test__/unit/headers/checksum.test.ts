import test from 'ava'
import { checksum } from 'xsknet/headers'
import { checksumOf, generator, hex, pick } from './packets.js'

test('the example of RFC 1071', (t) => {
  const bytes = hex('0001 f203 f4f5 f6f7')
  t.is(checksum(bytes, 0, 8), ~0xddf2 & 0xffff)
})

test('it equals a remainder modulo 0xffff, at every offset and length', (t) => {
  const random = generator(2)
  const bytes = Buffer.from(Array.from({ length: 80 }, random))
  for (let offset = 0; offset < bytes.length; offset++) {
    for (let length = 0; offset + length <= bytes.length; length++) {
      t.is(checksum(bytes, offset, length), checksumOf(bytes.subarray(offset, offset + length)))
    }
  }
})

test('the longest packet of the highest bytes does not overflow', (t) => {
  const bytes = new Uint8Array(65_535).fill(0xff)
  t.is(checksum(bytes, 0, bytes.length, 0xffff), checksumOf(bytes))
})

test('a part of even length goes before the rest', (t) => {
  const bytes = hex('0102 0304 0506 07')
  const before = ~checksum(bytes, 0, 4) & 0xffff
  t.is(checksum(bytes, 4, 3, before), checksum(bytes, 0, 7))
})

test('over what carries its checksum it is 0', (t) => {
  const bytes = hex('4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7')
  bytes.writeUInt16BE(checksum(bytes, 0, 20), 10)
  t.is(bytes.readUInt16BE(10), 0xb861)
  t.is(checksum(bytes, 0, 20), 0)
})

test('an updated checksum equals one computed anew, the words that stand for zero included', (t) => {
  const random = generator(3)
  const corners = [0x0000, 0x0001, 0x7fff, 0x8000, 0xfffe, 0xffff]
  for (let i = 0; i < 20_000; i++) {
    const words = Array.from({ length: 2 + (random() % 6) }, () =>
      random() & 1 ? pick(corners, random()) : random() & 0xffff,
    )
    const bytes = Buffer.from(words.flatMap((word) => [word >> 8, word & 0xff]))
    // As in any IP header: something that is not zero stays.
    bytes[0] = 0x45
    const before = checksum(bytes, 0, bytes.length)
    const word = 1 + (random() % (words.length - 1))
    const from = bytes.readUInt16BE(2 * word)
    const to = random() & 1 ? pick(corners, random()) : random() & 0xffff
    bytes.writeUInt16BE(to, 2 * word)
    t.is(checksum.update(before, from, to), checksum(bytes, 0, bytes.length), `${bytes.toString('hex')} from ${from}`)
  }
})

test('the example of RFC 1624, section 4, that equation 2 gets wrong', (t) => {
  t.is(checksum.update(0xdd2f, 0x5555, 0x3285), 0x0000)
})
