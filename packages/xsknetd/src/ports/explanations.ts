import type { ExplainedStep, Result } from 'xsknet/protocol'
import type { Told } from '../platform/instance.js'

/** An explanation, as a client gets it. */
export type Explained = Result<'explainArrival'>['explanation']

/** What a user who asks may know of a port; `undefined` of another user's. */
export type Known = (port: number) => { readonly name: string } | undefined

/** For root: every port by its number. */
export function whole(told: Told, known: Known): Explained {
  return { ...told, target: targetOf(told, known) }
}

/**
 * Of a packet that arrives, for a user other than root. If it is for none of the user's ports, nothing is told of it:
 * the steps would show which MACs and flows others have.
 */
export function ofArrival(told: Told, known: Known): Explained {
  const isOwn = told.target !== null && known(told.target.port) !== undefined
  return isOwn ? ofSending(told, known) : { uplink: told.uplink, counter: null, rule: null, target: null, steps: [] }
}

/**
 * Of a packet that a port of the user sends. The counters of the port show what becomes of such a packet when it is
 * sent, so that is told. Left out is whose port it goes to, whether others have a flow that this port lacks, and
 * whether other ports have heard of a station.
 */
export function ofSending(told: Told, known: Known): Explained {
  return {
    ...told,
    target: targetOf(told, known),
    steps: told.steps.flatMap((step): ExplainedStep[] => {
      switch (step.step) {
        case 'flow':
          return typeof step.port === 'number' && known(step.port) ? [step] : []
        case 'mac':
        case 'target':
        case 'destination':
        case 'fragment':
          return [typeof step.port === 'number' && !known(step.port) ? { ...step, port: 'other' } : step]
        case 'rate':
          return [{ ...step, known: null }]
        default:
          return [step]
      }
    }),
  }
}

function targetOf({ counter, target }: Told, known: Known): Explained['target'] {
  if (target === null) return null
  const { port, queue, rings } = target
  const its = known(port)
  if (!its) return { port: null, name: null, queue: null, rings: null }
  return { port, name: its.name, queue: counter === 'too_long' ? null : queue, rings }
}
