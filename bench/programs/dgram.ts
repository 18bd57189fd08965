// The same questions and answers by node:dgram. Its sockets are connected, which spares the kernel a look at its routes
// for each datagram.
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { serve } from '../../__test__/helpers/programs/serve.js'
import { type Answers, LENGTH, type Questions, usage } from './echoes.js'

let socket: Socket

async function ask({ count }: Pick<Questions, 'count'>): Promise<Answers> {
  const times: number[] = []
  let wrong = 0
  const payload = new Uint8Array(LENGTH)
  const used = usage()
  let began = 0
  const question = () => {
    began = performance.now()
    new DataView(payload.buffer).setUint32(0, times.length)
    socket.send(payload)
  }
  await new Promise<void>((done) => {
    const answered = (bytes: Buffer) => {
      const ended = performance.now()
      if (bytes.length !== LENGTH || bytes.readUInt32BE(0) !== times.length) wrong++
      times.push((ended - began) * 1000)
      if (times.length === count) {
        socket.off('message', answered)
        return done()
      }
      question()
    }
    socket.on('message', answered)
    question()
  })
  return { times, wrong, used: used() }
}

/** Keeps the event loop from sleeping: it looks at its descriptors, and turns again. */
function spin(): void {
  setImmediate(spin)
}

interface End {
  port: number
  address: string
}

serve({
  open: async ({ own, other, spins }: { own: End; other: End; spins: boolean }) => {
    socket = createSocket('udp4')
    socket.bind(own.port, own.address)
    await once(socket, 'listening')
    socket.connect(other.port, other.address)
    await once(socket, 'connect')
    if (spins) spin()
  },
  echo: () => void socket.on('message', (bytes) => socket.send(bytes)),
  ask,
})
