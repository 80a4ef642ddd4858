import {ParleyError} from './errors.ts';
import {SUBPROTOCOL} from './protocol.gen.ts';
import type {
  ClientFrame, HTTPError, JoinFrame, PollRequest, PollResponse, ResumeFrame, ServerFrame,
} from './protocol.gen.ts';

/** What frames travel on. */
export type CarrierKind = 'websocket' | 'long-poll';

/** A Carrier takes frames to the server for as long as it lives. It does not repeat, count or order them. */
export interface Carrier {
  readonly kind: CarrierKind;
  /** Sends frames, in this order. On a dead carrier they are gone: a resume sends them again. */
  send(frames: ClientFrame[]): void;
  /** Ends the carrier; no handler is called after. */
  close(): void;
}

/** What a carrier needs to know, and whom it tells. */
export interface CarrierConfig {
  /** The address of signaling: https://host/api/signal. */
  url: URL;
  /** The first frame. */
  hello: JoinFrame | ResumeFrame;
  /** The highest number taken, to be told with whatever is sent. */
  ack: () => number;
  onFrame: (frame: ServerFrame) => void;
  /** The carrier ended by itself. With an error, the server refused to begin signaling at all. */
  onDead: (error?: ParleyError) => void;
}

export function openCarrier(kind: CarrierKind, config: CarrierConfig): Carrier {
  return kind === 'websocket' ? new WebSocketCarrier(config) : new LongPollCarrier(config);
}

class WebSocketCarrier implements Carrier {
  readonly kind = 'websocket';
  #socket: WebSocket | undefined;

  constructor(private readonly config: CarrierConfig) {
    const url = new URL(config.url);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    try {
      this.#socket = new WebSocket(url, SUBPROTOCOL);
    } catch {
      queueMicrotask(() => this.#die()); // the page's policy forbids it
      return;
    }
    const socket = this.#socket;
    socket.onopen = () => this.send([config.hello]);
    socket.onmessage = (event: MessageEvent<unknown>) => {
      const frame = typeof event.data === 'string' ? parse(event.data) : undefined;
      if (frame) config.onFrame(frame);
      else this.#die();
    };
    socket.onclose = socket.onerror = () => this.#die();
  }

  send(frames: ClientFrame[]): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    for (const frame of frames) this.#socket.send(JSON.stringify({...frame, ack: this.config.ack()}));
  }

  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    socket.close(1000);
  }

  #die(): void {
    this.close();
    this.config.onDead();
  }
}

function parse(text: string): ServerFrame | undefined {
  try {
    const frame: unknown = JSON.parse(text);
    return typeof frame === 'object' && frame !== null && 'type' in frame ? (frame as ServerFrame) : undefined;
  } catch {
    return undefined;
  }
}

/** How long the server may keep a request that has nothing to say, in seconds. */
const pollWait = 25;
/** How long an answer may take beyond that, in milliseconds. */
const pollGrace = 10_000;
/** The most that one request carries. */
const maxBatch = 64;
const maxBatchBytes = 256 << 10;

/** Long-poll: one request waits for news, and at most one other brings some. */
class LongPollCarrier implements Carrier {
  readonly kind = 'long-poll';
  readonly #abort = new AbortController();
  readonly #queue: ClientFrame[] = [];
  #session: Pick<PollRequest, 'session' | 'attempt'> = {};
  #sending = false;

  constructor(private readonly config: CarrierConfig) {
    void this.#begin(config.hello);
  }

  send(frames: ClientFrame[]): void {
    this.#queue.push(...frames.filter((frame) => frame.type !== 'ack')); // every request has one
    void this.#drain();
  }

  close(): void {
    this.#abort.abort();
  }

  async #begin(hello: JoinFrame | ResumeFrame): Promise<void> {
    if (hello.type === 'join') {
      const answer = await this.#request({frames: [hello]});
      const welcome = answer?.frames.find((frame) => frame.type === 'welcome');
      if (welcome) this.#session = {session: welcome.session, attempt: 0};
      if (answer) this.#take(answer);
      if (!welcome) return;
    } else {
      this.#session = {session: hello.session, attempt: hello.attempt};
      const answer = await this.#request({...this.#session, ack: this.config.ack()});
      if (!answer) return;
      if (!answer.frames.some((frame) => frame.type === 'resumed' || frame.type === 'error')) {
        this.config.onFrame({type: 'resumed', ack: answer.ack});
      }
      this.#take(answer);
    }
    while (!this.#abort.signal.aborted) {
      const answer = await this.#request({...this.#session, ack: this.config.ack(), wait: pollWait});
      if (answer) this.#take(answer);
    }
  }

  async #drain(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#queue.length > 0 && !this.#abort.signal.aborted) {
      const frames: ClientFrame[] = [];
      for (let bytes = 0; this.#queue[0] && frames.length < maxBatch; ) {
        bytes += JSON.stringify(this.#queue[0]).length;
        if (frames.length > 0 && bytes > maxBatchBytes) break;
        frames.push(this.#queue.shift()!);
      }
      const answer = await this.#request({...this.#session, ack: this.config.ack(), wait: 0, frames});
      if (answer) this.#take(answer);
    }
    this.#sending = false;
  }

  #take(answer: PollResponse): void {
    this.config.onFrame({type: 'ack', ack: answer.ack});
    for (const frame of answer.frames) {
      if (this.#abort.signal.aborted) return;
      this.config.onFrame(frame);
    }
  }

  /** The answer, or undefined when the carrier is dead. */
  async #request(body: PollRequest): Promise<PollResponse | undefined> {
    const signal = this.#abort.signal;
    const timeout = setTimeout(() => this.#die(), (body.wait ?? 0) * 1000 + pollGrace);
    try {
      const response = await fetch(this.config.url, {
        method: 'POST',
        headers: {'Content-Type': 'application/json'},
        body: JSON.stringify(body),
        cache: 'no-store',
        signal,
      });
      const answer: unknown = await response.json();
      if (signal.aborted) return undefined;
      if (response.ok && isPollResponse(answer)) return answer;
      const refused = (answer as Partial<HTTPError> | null)?.error;
      this.#die(refused && response.status < 500 ? ParleyError.from(refused) : undefined);
    } catch {
      this.#die(); // no answer, or one that is not the server's
    } finally {
      clearTimeout(timeout);
    }
    return undefined;
  }

  #die(error?: ParleyError): void {
    if (this.#abort.signal.aborted) return;
    this.close();
    this.config.onDead(error);
  }
}

function isPollResponse(value: unknown): value is PollResponse {
  return typeof value === 'object' && value !== null && Array.isArray((value as PollResponse).frames);
}
