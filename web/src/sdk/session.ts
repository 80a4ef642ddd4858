import {openCarrier} from './carrier.ts';
import type {Carrier, CarrierKind} from './carrier.ts';
import {Emitter} from './emitter.ts';
import {ParleyError} from './errors.ts';
import type {ErrorCode} from './errors.ts';
import {VERSION} from './protocol.gen.ts';
import type {
  ClientFrame, ClientMessage, Code, ErrorFrame, JoinFrame, PollRequest, ResumeFrame, ServerFrame, ServerMessage,
  Unnumbered, WelcomeFrame,
} from './protocol.gen.ts';
import {retryDelay} from './retry.ts';
import {Inbox, Outbox, ackEvery} from './sequence.ts';

/** How the way to the server is: on the way for the first time, there, on the way again, or ended. */
export type ConnectionState = 'connecting' | 'connected' | 'reconnecting' | 'closed';

/** Times of docs/signaling.md, in milliseconds. */
const ackWithin = 800;
const deadAfter = 25_000;
/** A carrier that opened but says nothing is blocked by something in between. */
const silentAfter = 5_000;
/** The server acknowledges within a second: what waits for longer went nowhere. */
const unansweredAfter = 6_000;
/** A carrier that lived for this long was a good one, so the next failure is a first one. */
const steadyAfter = 5_000;
/** A carrier that was heard this short a time ago needs no proof that it lives. */
const freshFor = 2_000;
/** Long-poll works everywhere but a WebSocket is better: when to look for one again, doubling to an hour. */
const firstUpgrade = 60_000;
const lastUpgrade = 3_600_000;

/** After these, joining again would be refused again. */
const final: ReadonlySet<Code> = new Set<Code>([
  'unsupported-version', 'invalid', 'passphrase-required', 'passphrase-wrong', 'session-replaced',
  'host-forbidden', 'origin-forbidden', 'client-forbidden', 'forwarded-untrusted', 'forwarded-malformed', 'https-required',
  'method', 'media-type',
]);

interface SessionEvents {
  /** A seat was taken: at first, and again whenever the server had forgotten this one. */
  welcome: WelcomeFrame;
  /** A message, once and in order. */
  message: ServerMessage;
  state: ConnectionState;
  /** It is over: the server refuses, and would again. */
  failed: ParleyError;
}

/**
 * A Session is a seat in a room and the carrier to it: it joins, resumes and joins again, changes between WebSocket and
 * long-poll, and takes and sends each message once and in order (docs/signaling.md).
 */
export class Session extends Emitter<SessionEvents> {
  state: ConnectionState = 'connecting';
  /** A call stands still without the server: it is looked for more often. */
  urgent = false;
  /** What frames travel on at the moment. */
  get carrier(): CarrierKind | undefined {
    return this.#established ? this.#carrier?.kind : undefined;
  }

  #outbox = new Outbox<Unnumbered<ClientMessage>>();
  #inbox = new Inbox();

  #session: string | undefined;
  #token: string | undefined;
  #attempt = 0;

  #kind: CarrierKind = 'websocket';
  #webSocketWorked = false;
  #carrier: Carrier | undefined;
  #established = false;
  #failures = 0;
  #upgradeAfter = firstUpgrade;

  #openedAt = 0;
  #heardAt = 0;
  #waitingSince: number | undefined;
  #retryTimer: number | undefined;
  #ackTimer: number | undefined;
  #upgradeTimer: number | undefined;
  readonly #watchTimer: number;
  readonly #abort = new AbortController();

  /** join makes the frame that asks for the seat, as things are at that moment. */
  constructor(private readonly url: URL, private readonly join: () => Omit<JoinFrame, 'type' | 'v' | 'token'>) {
    super();
    this.#watchTimer = setInterval(() => this.#watch(), 1000);
    const signal = this.#abort.signal;
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && this.#watch(), {signal});
    this.#open();
  }

  /** Sends a message, now or when the way to the server is back. False if it is not going to: too much waits, or it is over. */
  send(message: Unnumbered<ClientMessage>): boolean {
    if (this.state === 'closed') return false;
    const numbered = this.#outbox.push(message);
    if (!numbered) return false;
    this.#waitingSince ??= Date.now();
    if (this.#established) this.#transmit([numbered as ClientFrame]);
    return true;
  }

  /** Gives the seat up, also while the page is being closed. */
  leave(): void {
    if (this.state === 'closed') return;
    if (this.#session !== undefined) {
      // What else waits is of no use to anybody now, and might be more than a beacon takes.
      const frames: ClientFrame[] = [{type: 'leave'}];
      const body: PollRequest = {session: this.#session, attempt: this.#attempt + 1, ack: this.#inbox.ack, wait: 0, frames};
      const sent = navigator.sendBeacon(this.url, new Blob([JSON.stringify(body)], {type: 'application/json'}));
      if (!sent) this.#transmit(frames); // a WebSocket sends it before it closes
    }
    this.#end();
  }

  /** Opens a new carrier at once: the network is another one, or the old carrier cannot be trusted. */
  reconnect(): void {
    if (this.state === 'closed') return;
    this.#failures = 0;
    this.#lost();
    this.#open();
  }

  /** Opens a new carrier if the old one may be dead without knowing, as when the network went away under it. A resume costs little. */
  check(): void {
    if (this.#established && Date.now() - this.#heardAt > freshFor) this.reconnect();
  }

  #open(): void {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#upgradeTimer);
    this.#carrier?.close();
    this.#established = false;
    this.#openedAt = this.#heardAt = Date.now();
    const hello: JoinFrame | ResumeFrame =
      this.#session === undefined
        ? {type: 'join', v: VERSION, ...this.join(), ...(this.#token !== undefined && {token: this.#token})}
        : {type: 'resume', session: this.#session, attempt: ++this.#attempt};
    this.#carrier = openCarrier(this.#kind, {
      url: this.url,
      hello,
      ack: () => {
        clearTimeout(this.#ackTimer);
        this.#ackTimer = undefined;
        this.#inbox.acknowledged();
        return this.#inbox.ack;
      },
      onFrame: (frame) => this.#take(frame),
      onDead: (error) => this.#dead(error),
    });
  }

  #transmit(frames: ClientFrame[]): void {
    this.#carrier?.send(frames);
  }

  #take(frame: ServerFrame): void {
    this.#heardAt = Date.now();
    this.#outbox.acknowledge(frame.ack);
    this.#waitingSince = this.#outbox.length === 0 ? undefined : frame.ack === undefined ? this.#waitingSince : Date.now();
    if ('seq' in frame && frame.seq !== undefined) return this.#takeMessage(frame as ServerMessage);
    switch (frame.type) {
      case 'welcome':
        return this.#welcome(frame);
      case 'resumed':
        this.#settle();
        if (this.#outbox.length > 0) this.#transmit(this.#outbox.after(0) as ClientFrame[]);
        return;
      case 'ping':
        return this.#transmit([{type: 'ack'}]);
      case 'error':
        return this.#refused(frame);
    }
  }

  #takeMessage(message: ServerMessage): void {
    switch (this.#inbox.take(message.seq ?? 0)) {
      case 'seen':
        return;
      case 'gap':
        return this.#dead(); // a resume brings what is missing
      case 'take':
        break;
    }
    if (this.#inbox.unacknowledged >= ackEvery) this.#transmit([{type: 'ack'}]);
    else this.#ackTimer ??= setTimeout(() => this.#transmit([{type: 'ack'}]), ackWithin);
    if (message.type === 'token') this.#token = message.token;
    this.emit('message', message);
  }

  #welcome(frame: WelcomeFrame): void {
    this.#session = frame.session;
    this.#token = frame.token;
    this.#attempt = 0;
    this.#outbox = new Outbox(frame.limits.messageSize);
    this.#inbox = new Inbox();
    this.#waitingSince = undefined;
    this.#established = true;
    this.emit('welcome', frame);
    this.#settle();
  }

  /** The carrier carries. */
  #settle(): void {
    this.#established = true;
    if (this.#kind === 'websocket') {
      this.#webSocketWorked = true;
      this.#upgradeAfter = firstUpgrade;
    } else {
      this.#upgradeTimer = setTimeout(() => {
        this.#upgradeAfter = Math.min(this.#upgradeAfter * 2, lastUpgrade);
        this.#webSocketWorked = false;
        this.#kind = 'websocket';
        this.#open(); // a quiet change: nothing was lost
      }, this.#upgradeAfter);
    }
    this.#setState('connected');
  }

  #refused(error: ErrorFrame): void {
    const first = this.state === 'connecting';
    if (first || final.has(error.code)) return this.#fail(ParleyError.from(error));
    const prompt = this.#forget(error.code);
    this.#carrier?.close();
    this.#lost();
    this.#retry(prompt ? 0 : error.retryAfter);
  }

  /** Gives up what the server says is not there. Then joining again at once helps; after any other refusal the session may live, and a resume will tell. */
  #forget(code: ErrorCode): boolean {
    const had = code === 'session-unknown' ? this.#session : code === 'token-invalid' ? this.#token : undefined;
    if (code === 'session-unknown') this.#session = undefined;
    if (code === 'token-invalid') this.#token = undefined;
    return had !== undefined;
  }

  #dead(error?: ParleyError): void {
    if (error && (this.state === 'connecting' || final.has(error.code as Code))) return this.#fail(error);
    this.#carrier?.close();
    if (this.#established && Date.now() - this.#openedAt > steadyAfter) this.#failures = 0;
    const blocked = !this.#established;
    this.#lost();
    if (error && this.#forget(error.code)) return this.#retry(0);
    if (!blocked) return this.#retry(error?.retryAfter);
    // The other carrier may get through. A WebSocket that worked before is more likely down with the server.
    const other = this.#kind === 'websocket' ? 'long-poll' : 'websocket';
    if (other === 'websocket' || !this.#webSocketWorked || this.#failures % 3 === 2) this.#kind = other;
    this.#retry(this.#kind === 'long-poll' && this.#failures === 0 ? 0 : error?.retryAfter);
  }

  #lost(): void {
    this.#established = false;
    clearTimeout(this.#upgradeTimer);
    if (this.state === 'connected') this.#setState('reconnecting');
  }

  /** Tries again after a while: so many seconds, if the server asked for them. */
  #retry(asked?: number): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#open(), retryDelay(this.#failures++, asked, this.urgent));
    this.#carrier = undefined;
  }

  /** Once a second, and when the tab comes back: is the carrier still alive? */
  #watch(): void {
    if (!this.#carrier) return;
    const now = Date.now();
    const unanswered = this.#established && this.#waitingSince !== undefined && now - this.#waitingSince > unansweredAfter;
    const deaf = this.#carrier.kind === 'websocket' && now - this.#heardAt > (this.#established ? deadAfter : silentAfter);
    if (unanswered || deaf) this.#dead(); // long-poll watches over its own requests
  }

  #fail(error: ParleyError): void {
    this.#end();
    this.emit('failed', error);
  }

  #end(): void {
    this.#carrier?.close();
    this.#carrier = undefined;
    this.#established = false;
    clearInterval(this.#watchTimer);
    for (const timer of [this.#retryTimer, this.#ackTimer, this.#upgradeTimer]) clearTimeout(timer);
    this.#abort.abort();
    this.#setState('closed');
  }

  #setState(state: ConnectionState): void {
    if (this.state === state) return;
    this.state = state;
    this.emit('state', state);
  }
}
