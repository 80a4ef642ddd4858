/**
 * Exactly once and in order, over carriers that come and go: the sequence layer of docs/signaling.md, section "Frames
 * and delivery". It knows no carrier, clock or timer.
 */

/** The most that may wait for acknowledgement. The server's bounds are the same. */
export const maxWaiting = 1024;
export const maxWaitingBytes = 4 << 20;

/** The largest frame of a server that has not said another. */
const maxFrameBytes = 64 << 10;
/** What a message leaves free in a frame, for its numbers. */
export const numbersBytes = 64;

/** A receiver acknowledges at once when this many wait for it. */
export const ackEvery = 32;

/** Outbox numbers messages and keeps them until the other side has them. */
export class Outbox<M extends object> {
  #next = 1;
  #acked = 0;
  #bytes = 0;
  readonly #waiting: { message: M & { seq: number }; bytes: number }[] = [];

  /** frameBytes is the largest frame that the server takes. */
  constructor(private readonly frameBytes = maxFrameBytes) {}

  /** How many messages wait for acknowledgement. */
  get length(): number {
    return this.#waiting.length;
  }

  /** Numbers a message and keeps it; undefined if it is too large or too much waits already, and then it has no number. */
  push(message: M): (M & {seq: number}) | undefined {
    const text = JSON.stringify({...message, seq: this.#next});
    const bytes = new TextEncoder().encode(text).length;
    if (bytes > this.frameBytes - numbersBytes || this.#waiting.length >= maxWaiting || this.#bytes + bytes > maxWaitingBytes) return undefined;
    const numbered = JSON.parse(text) as M & {seq: number}; // a copy: what the caller changes later was not said
    this.#next++;
    this.#bytes += bytes;
    this.#waiting.push({message: numbered, bytes});
    return numbered;
  }

  /** Forgets what the other side says it has. A claim about what was never sent is passed over. */
  acknowledge(seq: number | undefined): void {
    if (seq === undefined || seq <= this.#acked || seq >= this.#next) return;
    this.#acked = seq;
    while (this.#waiting[0] && this.#waiting[0].message.seq <= seq) this.#bytes -= this.#waiting.shift()!.bytes;
  }

  /** The messages after seq that wait for acknowledgement, oldest first. */
  after(seq: number): (M & { seq: number })[] {
    return this.#waiting.filter((w) => w.message.seq > seq).map((w) => w.message);
  }
}

/** Inbox takes each message once and in order. */
export class Inbox {
  #taken = 0;
  #acked = 0;

  /** The highest number taken: what to acknowledge. */
  get ack(): number {
    return this.#taken;
  }

  /** How many were taken since the last acknowledgement was sent. */
  get unacknowledged(): number {
    return this.#taken - this.#acked;
  }

  /** Notes that an acknowledgement of everything taken is on its way. */
  acknowledged(): void {
    this.#acked = this.#taken;
  }

  /** Tells whether a number is the next one, was taken before, or leaves a gap. */
  take(seq: number): 'take' | 'seen' | 'gap' {
    if (seq <= this.#taken) return 'seen';
    if (seq !== this.#taken + 1) return 'gap';
    this.#taken = seq;
    return 'take';
  }
}
