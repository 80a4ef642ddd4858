import {Emitter} from './emitter.ts';
import {ParleyError} from './errors.ts';
import {Link} from './link.ts';
import type {Kind, VideoLimit} from './link.ts';
import {readStats} from './path.ts';
import type {Counters, Path, Quality} from './path.ts';
import type {
  ClientMessage, Peer as PeerInfo, Reason, ServerCandidateFrame, ServerDescriptionFrame, Unnumbered,
} from './protocol.gen.ts';

/**
 * How it goes with a peer: on the way for the first time, there, interrupted (a new path is looked for), no path found
 * for long (it is still looked for), or gone from the room.
 */
export type PeerState = 'connecting' | 'connected' | 'reconnecting' | 'failed' | 'left';

/** What a peer tells the others about itself. Applications may add words of their own: a JSON object of up to 4 KiB. */
export interface Presence {
  /** The microphone is on. */
  audio?: boolean;
  /** The camera is on. */
  video?: boolean;
  [word: string]: unknown;
}

/** A text that somebody said in the room's chat. */
export interface ChatMessage {
  readonly peer: Peer;
  readonly text: string;
}

export interface PeerEvents {
  /** A track of the peer's has come; it belongs to `peer.stream`. */
  track: MediaStreamTrack;
  state: PeerState;
  /** Name or presence changed. */
  presence: Presence;
  path: Path;
  quality: Quality;
  /** What `send` was given on the other side. */
  message: unknown;
  chat: string;
  /** The peer is gone, and its media ended. */
  left: Reason;
}

/** What travels in the data channel: JSON texts. */
type ChannelMessage = {type: 'chat'; text: string} | {type: 'data'; data: unknown} | {type: 'bye'};

/** What a Peer needs of its room. @internal */
export interface PeerHost {
  readonly selfId: string;
  readonly signaling: boolean;
  readonly configuration: RTCConfiguration;
  readonly tracks: ReadonlyMap<Kind, MediaStreamTrack | null>;
  readonly stream: MediaStream;
  readonly videoLimit: VideoLimit;
  send(message: Unnumbered<ClientMessage>): boolean;
  onChat(peer: Peer, text: string): void;
  onMessage(peer: Peer, data: unknown): void;
  onPath(peer: Peer, path: Path): void;
  onLeft(peer: Peer, reason: Reason): void;
  /** The path to a peer is gone: other ways out of this device may be, too. */
  onInterrupted(): void;
}

/** Until the channel opens, this much waits for it. */
const maxPending = 256;
const maxPendingBytes = 1 << 20;
/** The largest message; every browser takes 64 KiB. */
const maxTextBytes = 60 << 10;

/** Times of the search for a path, in milliseconds. */
const patience = 500; // the browser says so 5 s after the last packet; a short drop heals by itself
const politePatience = 1_500; // more for the side that gives way, so that both do not begin at once
const firstSearch = 12_000; // a first connection may take this long
const searchStep = 5_000; // each search gets more time than the one before
const lastSearch = 30_000;
const anewEvery = 3; // a search of this number takes a new connection, and the state says that it failed
const awayGrace = 10_000; // a peer that the restarted server does not know yet, and that is not connected
const statsEvery = 2_000;

/** A Peer is another participant of the room: its name, its media, and the way to it. */
export class Peer extends Emitter<PeerEvents> {
  readonly id: string;
  name: string;
  presence: Presence;
  state: PeerState = 'connecting';
  path: Path | undefined;
  quality: Quality = 'good';
  /** Holds the peer's tracks, at most one of each kind; the same object as long as the peer is there. */
  readonly stream = new MediaStream();

  #link: Link;
  #theirs: string | undefined; // names the other side's object, once heard from
  #audio: RTCRtpReceiver | undefined;
  #away = false;
  #searches = 0; // since it was last connected
  #due = false; // a search is wanted and was not begun
  #searchTimer: number | undefined;
  #awayTimer: number | undefined;
  readonly #statsTimer: number;
  #counters: Counters = {received: 0, lost: 0};
  #pending: string[] = [];
  #pendingBytes = 0;

  /** @internal */
  constructor(info: PeerInfo, private readonly host: PeerHost, caller: boolean) {
    super();
    this.id = info.id;
    this.name = info.name;
    this.presence = info.state ?? {};
    this.#link = this.#newLink(caller);
    this.#searchIn(firstSearch);
    this.#statsTimer = setInterval(() => void this.#look(), statsEvery);
  }

  /** How loud the peer is at this moment, 0 to 1. Meant to be asked often. */
  get audioLevel(): number {
    return this.#audio?.getSynchronizationSources()[0]?.audioLevel ?? 0;
  }

  /** Sends a value that JSON can hold, up to 60 KiB, to this peer's program: it arrives as 'message', once and in order. */
  send(data: unknown): void {
    this.#say({type: 'data', data});
  }

  /** Says a text to this peer alone. @internal */
  chat(text: string): void {
    this.#say({type: 'chat', text});
  }

  /** @internal */
  setTrack(kind: Kind, track: MediaStreamTrack | null): Promise<void> {
    return this.#link.setTrack(kind, track);
  }

  /** @internal */
  limitVideo(): void {
    void this.#link.limitVideo(this.host.videoLimit);
  }

  /** The peer's name or presence is another. @internal */
  describe(name: string, presence: Presence): void {
    this.name = name;
    this.presence = presence;
    this.emit('presence', presence);
  }

  /** Takes a description or a candidate of this peer's. @internal */
  signal(frame: ServerDescriptionFrame | ServerCandidateFrame): void {
    if (this.state === 'left') return;
    if (frame.replyTo !== undefined && frame.replyTo !== this.#link.label) return; // for an object that is no more
    if (frame.connection !== this.#theirs) {
      if (this.#theirs !== undefined) this.#beginAnew(false); // so did they
      this.#theirs = frame.connection;
    }
    this.#link.receive(frame);
  }

  /**
   * The room has this peer (again). If the server had forgotten everything, what it was told last may be lost.
   * @internal
   */
  present(forgotten: boolean): void {
    this.#away = false;
    clearTimeout(this.#awayTimer);
    this.configure();
    if (forgotten) this.#link.resend();
    this.refresh(forgotten && this.path?.kind === 'relayed'); // its relay, or its credentials, are of the seat that is gone
  }

  /** The host's servers are others, or have other credentials: for the next search. @internal */
  configure(): void {
    this.#link.configure(this.host.configuration);
  }

  /** The server does not have this peer, though it did not leave: media goes on for as long as it does. @internal */
  away(reason: Reason | 'unknown'): void {
    this.#away = true;
    if (this.#link.connected) return;
    if (reason !== 'unknown') return this.leave(reason);
    clearTimeout(this.#awayTimer);
    this.#awayTimer = setTimeout(() => this.#away && !this.#link.connected && this.leave('lost'), awayGrace);
  }

  /** Looks for a new path: the network is another one, or the server is back. @internal */
  refresh(evenIfConnected: boolean): void {
    if (evenIfConnected || (this.#due && !this.#link.connected)) this.#search();
  }

  /** It is over with this peer. @internal */
  leave(reason: Reason): void {
    if (this.state === 'left') return;
    for (const timer of [this.#searchTimer, this.#awayTimer]) clearTimeout(timer);
    clearInterval(this.#statsTimer);
    this.#link.close();
    this.#setState('left');
    this.emit('left', reason);
    this.host.onLeft(this, reason);
  }

  /** Tells the other side, past the server, that this side goes. @internal */
  bye(): void {
    this.#link.sendText(JSON.stringify({type: 'bye'} satisfies ChannelMessage));
  }

  #newLink(caller: boolean): Link {
    const link: Link = new Link({
      configuration: this.host.configuration,
      polite: this.host.selfId < this.id,
      caller,
      stream: this.host.stream,
      onSignal: (message) => {
        const labels = {to: this.id, connection: link.label, ...(this.#theirs !== undefined && {replyTo: this.#theirs})};
        if ('description' in message) this.host.send({type: 'description', ...labels, ...message});
        else this.host.send({type: 'candidate', ...labels, ...message});
      },
      onState: () => this.#linkState(),
      onTrack: (track, receiver) => this.#track(track, receiver),
      onChannel: () => this.#drain(),
      onText: (text) => this.#take(text),
      onBroken: () => this.#beginAnew(true),
    });
    for (const [kind, track] of this.host.tracks) void link.setTrack(kind, track);
    return link;
  }

  /** Gives the connection up for a new one: the old one cannot be mended, or the other side made a new one. */
  #beginAnew(caller: boolean): void {
    if (this.state === 'left') return;
    this.#link.close();
    this.#theirs = undefined;
    this.#counters = {received: 0, lost: 0};
    for (const track of this.stream.getTracks()) this.stream.removeTrack(track);
    this.#link = this.#newLink(caller);
    if (this.state === 'connected') this.#setState('reconnecting');
    this.#searchIn(firstSearch);
  }

  #track(track: MediaStreamTrack, receiver: RTCRtpReceiver): void {
    for (const old of this.stream.getTracks()) {
      if (old.kind === track.kind && old !== track) this.stream.removeTrack(old);
    }
    this.stream.addTrack(track);
    if (track.kind === 'audio') this.#audio = receiver;
    this.emit('track', track);
  }

  #linkState(): void {
    const {pc} = this.#link;
    switch (pc.connectionState) {
      case 'connected':
        this.#searches = 0;
        this.#due = false;
        clearTimeout(this.#searchTimer);
        this.#setState('connected');
        this.limitVideo();
        void this.#look();
        return;
      case 'disconnected':
      case 'failed':
        if (this.#away) return this.away(pc.connectionState === 'failed' ? 'lost' : 'unknown');
        if (this.state === 'connected') this.#setState('reconnecting');
        this.#due = true;
        this.host.onInterrupted();
        // Failed while ICE is not: the handshake, and a new path would not help.
        if (pc.connectionState === 'failed' && pc.iceConnectionState !== 'failed') return this.#beginAnew(true);
        this.#searchIn(pc.connectionState === 'failed' ? 0 : patience);
    }
  }

  #searchIn(wait: number): void {
    clearTimeout(this.#searchTimer);
    const extra = this.host.selfId < this.id ? politePatience : 0;
    this.#searchTimer = setTimeout(() => this.#search(), wait + extra);
  }

  /** One more try, for as long as none succeeds. Without the server it waits for refresh. */
  #search(): void {
    clearTimeout(this.#searchTimer);
    this.#due = true;
    if (this.state === 'left' || this.#away || !this.host.signaling) return;
    this.#due = false;
    if (this.#link.connected) return this.#link.restart();
    if (++this.#searches % anewEvery === 0) {
      this.#setState('failed');
      return this.#beginAnew(true);
    }
    this.#link.restart();
    this.#searchIn(Math.min(searchStep * this.#searches, lastSearch));
  }

  async #look(): Promise<void> {
    const link = this.#link;
    if (!link.connected) return;
    this.limitVideo(); // for video that was added since
    const {path, quality} = readStats(await link.pc.getStats(), this.#counters);
    if (link !== this.#link || this.state === 'left') return;
    const changed = path && (path.description !== this.path?.description || path.roundTrip !== this.path.roundTrip);
    this.path = path ?? this.path;
    if (path && changed) {
      this.emit('path', path);
      this.host.onPath(this, path);
    }
    if (quality !== this.quality) {
      this.quality = quality;
      this.emit('quality', quality);
    }
  }

  #say(message: ChannelMessage): void {
    const text = JSON.stringify(message);
    const bytes = new TextEncoder().encode(text).length;
    if (this.state === 'left') throw new ParleyError('closed', `${this.name || 'This peer'} is not in the room any more.`);
    if (bytes > maxTextBytes) throw new ParleyError('message-too-large', 'A message may have 60 KiB. Send it in parts.');
    if (this.#pending.length === 0 && this.#link.sendText(text)) return;
    if (this.#pending.length >= maxPending || this.#pendingBytes + bytes > maxPendingBytes) {
      throw new ParleyError('too-much-waiting', `Too much waits for the connection to ${this.name || 'this peer'}. Send less, or later.`);
    }
    this.#pending.push(text);
    this.#pendingBytes += bytes;
  }

  #drain(): void {
    while (this.#pending[0] !== undefined && this.#link.sendText(this.#pending[0])) this.#pending.shift();
    if (this.#pending.length === 0) this.#pendingBytes = 0;
  }

  #take(text: string): void {
    const message = parse(text);
    switch (message?.type) {
      case 'bye':
        return this.leave('left');
      case 'chat':
        this.emit('chat', message.text);
        return this.host.onChat(this, message.text);
      case 'data':
        this.emit('message', message.data);
        return this.host.onMessage(this, message.data);
    }
  }

  #setState(state: PeerState): void {
    if (this.state === state) return;
    this.state = state;
    this.emit('state', state);
  }
}

/** Reads what the other side's program said; nothing, if it is none of our words. */
function parse(text: string): ChannelMessage | undefined {
  try {
    const message = JSON.parse(text) as Partial<{type: unknown; text: unknown; data: unknown}> | null;
    if (message?.type === 'bye') return {type: 'bye'};
    if (message?.type === 'chat' && typeof message.text === 'string') return {type: 'chat', text: message.text};
    if (message?.type === 'data') return {type: 'data', data: message.data};
  } catch {
    // not JSON
  }
  return undefined;
}
