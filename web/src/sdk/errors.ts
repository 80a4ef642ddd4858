import type {Code, ErrorFrame, Refusal} from './protocol.gen.ts';

/** What can go wrong: the server's codes, and the SDK's own. */
export type ErrorCode =
  | Code
  /** nothing answers at the server's address */
  | 'unreachable'
  /** the address or the room's name cannot be one */
  | 'bad-address'
  /** only a relay was wanted, and the server has none */
  | 'no-relay'
  /** more was said than can wait for a channel to open */
  | 'too-much-waiting'
  /** what was called needs a room that was not left */
  | 'closed'
  /** the browser cannot do calls, or not on this page */
  | 'unsupported';

/** A ParleyError says by its code what was refused, and by its message what to do. */
export class ParleyError extends Error {
  override readonly name = 'ParleyError';

  constructor(
    /** Stable, for programs. */
    readonly code: ErrorCode,
    message: string,
    /** When trying again makes sense, in seconds. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }

  /** @internal */
  static from(refusal: ErrorFrame | Refusal): ParleyError {
    return new ParleyError(refusal.code, refusal.message, refusal.retryAfter);
  }
}
