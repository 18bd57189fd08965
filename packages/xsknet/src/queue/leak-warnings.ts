/** Warns when something that had to be closed is collected instead. Registered with its name; unregistered by itself. */
export const leakWarnings = new FinalizationRegistry((name: string) => {
  process.emitWarning(`${name} was forgotten: it is open, and nobody can close it any more`, {
    type: 'XsknetWarning',
    code: 'XSKNET_PORT_FORGOTTEN',
    detail: 'Call close() when a port is no longer needed, or declare it by `await using`.',
  })
})
