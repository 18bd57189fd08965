import { createInterface } from 'node:readline'

/** What a program does when it is told to, by name. */
export type Orders = Record<string, (order: never) => unknown>

/** Takes orders in lines of JSON, `{ id, do, … }`, until its standard input ends; the other side is `Conversation`. */
export function serve(orders: Orders): void {
  const input = createInterface({ input: process.stdin })
  input.on('line', async (line) => {
    const order = JSON.parse(line)
    try {
      const carryOut = orders[order.do]
      if (!carryOut) throw new Error(`there is no order \`${order.do}\` here`)
      write({ id: order.id, done: (await carryOut(order as never)) ?? null })
    } catch (error) {
      const { message, code, hint, details, cause } = error as Error & {
        code?: string
        hint?: string
        details?: object
      }
      write({ id: order.id, error: { message, code, hint, details, cause: cause && underneath(cause as Error) } })
    }
  })
}

/** An error's own message is not among what JSON writes of it. */
function underneath({ message, ...told }: Error) {
  return { message, ...told }
}

/** Says something of its own accord. */
export function say(event: string, fields: Record<string, unknown> = {}): void {
  write({ event, ...fields })
}

function write(message: object): void {
  process.stdout.write(
    `${JSON.stringify(message, (_, value) => (typeof value === 'bigint' ? Number(value) : value))}\n`,
  )
}
