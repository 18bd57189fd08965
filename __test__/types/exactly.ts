type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/**
 * Takes a value of exactly this type: neither of a wider nor of a narrower one, and never `any`. For others it misses
 * an argument.
 */
export const exactly =
  <Expected>() =>
  <Actual>(
    _value: Actual,
    ..._mismatch: Same<Expected, Actual> extends true ? [] : [{ is: Actual; not: Expected }]
  ): void => {}
