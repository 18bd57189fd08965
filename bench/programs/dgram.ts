// The same questions and answers by node:dgram.
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { serve } from '../../__test__/helpers/programs/serve.js'
import { type Answers, LENGTH, type Questions } from './echoes.js'

let socket: Socket

async function ask({ to, count }: Questions): Promise<Answers> {
  const times: number[] = []
  let wrong = 0
  const payload = new Uint8Array(LENGTH)
  let began = 0
  const question = () => {
    began = performance.now()
    new DataView(payload.buffer).setUint32(0, times.length)
    socket.send(payload, to.port, to.address)
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
  return { times, wrong }
}

serve({
  open: async ({ port, address }: { port: number; address: string }) => {
    socket = createSocket('udp4')
    socket.bind(port, address)
    await once(socket, 'listening')
  },
  // As the other side does, it leaves alone what another server may have sent.
  echo: () => void socket.on('message', (bytes, { port, address }) => port >= 1024 && socket.send(bytes, port, address)),
  ask,
})
