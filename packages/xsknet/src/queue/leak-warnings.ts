/**
 * Warns when a port or queue is collected without being closed. Registered with its name, and unregistered when it is
 * closed.
 */
export const leakWarnings = new FinalizationRegistry((name: string) => {
  process.emitWarning(`${name} was garbage-collected without being closed`, {
    type: 'XsknetWarning',
    code: 'XSKNET_PORT_FORGOTTEN',
    detail: 'Call close() when a port is no longer needed, or declare it with `await using`.',
  })
})
