import { inspect } from 'node:util'
import test from 'ava'
import { XsknetError } from 'xsknet'

test('an error carries its code, hint, details and cause', (t) => {
  const cause = Object.assign(new Error('bind failed'), { errno: -16, syscall: 'bind' })
  const error = new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', 'it did not load', {
    hint: 'build it',
    details: { arch: 'x64' },
    cause,
  })
  t.true(error instanceof Error)
  t.is(`${error}`, 'XsknetError: it did not load')
  t.is(error.code, 'ERR_XSKNET_UNSUPPORTED_PLATFORM')
  t.is(error.hint, 'build it')
  t.deepEqual(error.details, { arch: 'x64' })
  t.is(error.cause, cause)
})

test('what Node prints of an uncaught error shows the hint and the cause', (t) => {
  const error = new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', 'it did not load', {
    hint: 'build it',
    cause: new Error('no file'),
  })
  t.regex(inspect(error), /XsknetError: it did not load.*hint: 'build it'.*\[cause\]: Error: no file/s)
})

test('an error without a cause has none, rather than one that is undefined', (t) => {
  const error = new XsknetError('ERR_XSKNET_UNSUPPORTED_PLATFORM', 'it did not load')
  t.false('cause' in error)
  t.is(error.hint, undefined)
  t.deepEqual(error.details, {})
})
