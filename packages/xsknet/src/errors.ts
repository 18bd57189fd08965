/** Every code that an {@link XsknetError} can carry. A code keeps its meaning for ever. */
export type XsknetErrorCode =
  /** No binding of this package loads on this system. */
  'ERR_XSKNET_UNSUPPORTED_PLATFORM'

export interface XsknetErrorOptions {
  /** What to do about it, in one sentence. */
  hint?: string
  /** The nouns and numbers of the message, for programs. */
  details?: Readonly<Record<string, unknown>>
  /** Why it failed: the error underneath. A refusal by the kernel keeps its `errno` and `syscall` there. */
  cause?: unknown
}

/** What this package throws and rejects with, apart from the reason of an aborted signal. Tell errors apart by `code`. */
export class XsknetError extends Error {
  static {
    XsknetError.prototype.name = 'XsknetError'
  }

  readonly code: XsknetErrorCode
  /** What to do about it, where there is something to do. */
  readonly hint: string | undefined
  /** The nouns and numbers of the message. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: XsknetErrorCode, message: string, options: XsknetErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.hint = options.hint
    this.details = options.details ?? {}
  }
}
