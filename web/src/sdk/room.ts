import {Emitter} from './emitter.ts';
import {ParleyError} from './errors.ts';
import type {Kind} from './link.ts';
import type {Path} from './path.ts';
import {Peer} from './peer.ts';
import type {ChatMessage, PeerHost, Presence} from './peer.ts';
import {randomText} from './random.ts';
import type {Reason, ServerMessage, WelcomeFrame} from './protocol.gen.ts';
import {Session} from './session.ts';
import {isTrusted} from './trust.ts';
import type {CarrierKind} from './carrier.ts';
import type {ConnectionState} from './session.ts';

export interface JoinOptions {
  /** What the others see: up to 64 characters. */
  name?: string;
  /** Published from the start; the same as `publish` after, but in one round trip less. */
  stream?: MediaStream;
  /** Told from the start; the same as `setPresence` after. */
  presence?: Presence;
  /** The host's, to open a room from the internet. */
  passphrase?: string;
  /** Media goes through the server's relay only: the others see its address in place of this device's. */
  relayOnly?: boolean;
  /** Chooses among the STUN and TURN servers that were given, or names others. Asked at every seat, also after a restart of the server, and when credentials are renewed. */
  iceServers?: (given: RTCIceServer[]) => RTCIceServer[];
  /** Gives up when aborted. */
  signal?: AbortSignal;
}

export interface RoomEvents {
  /** Somebody is here: those who were before, then whoever comes. */
  peer: Peer;
  left: {peer: Peer; reason: Reason};
  chat: ChatMessage;
  message: {peer: Peer; data: unknown};
  /** The server stops soon, within so many seconds. The call goes on. */
  draining: number;
  /** The server refuses this peer for good. The call goes on with those who are here; nobody else can come. */
  refused: ParleyError;
}

export interface ConnectionEvents {
  /** The way to the server. Calls go on without it. */
  state: ConnectionState;
  /** Media with `peer` travels another way. */
  path: Path & {readonly peer: Peer};
}

/**
 * What all peers' video together may take of the uplink, in bits per second, and how much one may. Each peer gets a picture of its own, so
 * with more of them it is a smaller one: tiles are smaller then, and the processor has to encode each.
 */
const uplink = 3_000_000;
const maxVideo = 2_000_000;

/** How long join tries to reach the server. */
const joinWithin = 15_000;

const noRelay =
  'The server has no relay, so a call would show your address. Join without “relay only”, or ask whoever runs the server to switch the relay on.';

const unreachable = 'The server does not answer. Check that this device has a network and that the server runs, then try again.';

/** The way out of this page: to the server, and to each peer. */
class Connection extends Emitter<ConnectionEvents> {
  constructor(private readonly session: Session) {
    super();
    session.on('state', (state) => this.emit('state', state));
  }

  get state(): ConnectionState {
    return this.session.state;
  }

  /** What signaling travels on at the moment, for diagnosis. */
  get carrier(): CarrierKind | undefined {
    return this.session.carrier;
  }

  /** Looks for a new way to the server at once. */
  retry(): void {
    this.session.reconnect();
  }

  /** @internal */
  tellPath(peer: Peer, path: Path): void {
    this.emit('path', {...path, peer});
  }
}

export type {Connection};

/** A Room is a place in a call: who else is there, and what this page sends them. Made by `join`. */
export class Room extends Emitter<RoomEvents> {
  /** The room's name. */
  readonly name: string;
  readonly connection: Connection;
  readonly self: {id: string; name: string; presence: Presence};
  /** The invitation, with an address that others can reach. */
  link = '';
  /** How many may be here, this page included. */
  capacity = 0;

  readonly #peers = new Map<string, Peer>();
  readonly #session: Session;
  readonly #host: PeerHost & {configuration: RTCConfiguration};
  readonly #tracks = new Map<Kind, MediaStreamTrack | null>();
  readonly #abort = new AbortController();
  #networkIsNew = false;

  /** Resolves when there is a seat. @internal */
  readonly ready: Promise<void>;

  /** @internal */
  constructor(url: URL, name: string, private readonly options: JoinOptions) {
    super();
    this.name = name;
    this.self = {id: '', name: options.name ?? '', presence: {...options.presence}};
    for (const track of options.stream?.getTracks() ?? []) this.#tracks.set(track.kind as Kind, track);
    const secret = randomText(24);
    const session = (this.#session = new Session(url, () => ({
      room: name,
      name: this.self.name,
      state: this.self.presence,
      secret,
      ...(options.passphrase !== undefined && {passphrase: options.passphrase}),
    })));
    this.connection = new Connection(session);
    const self = this.self;
    const peers = this.#peers;
    this.#host = {
      configuration: {},
      tracks: this.#tracks,
      stream: new MediaStream(),
      get selfId() {
        return self.id;
      },
      get signaling() {
        return session.carrier !== undefined;
      },
      get videoLimit() {
        const n = Math.max(1, peers.size);
        return {maxBitrate: Math.min(maxVideo, Math.round(uplink / n)), scaleResolutionDownBy: (n + 1) / 2};
      },
      send: (message) => session.send(message),
      onChat: (peer, text) => this.emit('chat', {peer, text}),
      onMessage: (peer, data) => this.emit('message', {peer, data}),
      onPath: (peer, path) => {
        this.#dependOnServer();
        this.connection.tellPath(peer, path);
      },
      onLeft: (peer, reason) => this.#remove(peer, reason),
      onInterrupted: () => session.check(),
    };
    session.on('welcome', (frame) => this.#welcome(frame));
    session.on('message', (message) => this.#message(message));
    session.on('state', (state) => state === 'connected' && this.#refresh());
    this.ready = new Promise((resolve, reject) => {
      session.on('welcome', () => {
        if (options.relayOnly && !hasRelay(this.#host.configuration)) reject(new ParleyError('no-relay', noRelay));
        else resolve();
      });
      session.on('failed', (error) => {
        if (this.self.id === '') reject(error);
        else this.emit('refused', error);
      });
    });

    const {signal} = this.#abort;
    addEventListener('pagehide', () => this.leave(), {signal});
    addEventListener('online', () => this.#networkChanged(), {signal});
    watchNetworkType(() => this.#networkChanged(), signal);
  }

  /** Everybody else who is here, by id. */
  get peers(): ReadonlyMap<string, Peer> {
    return this.#peers;
  }

  /** Sends this stream's tracks to everybody, now and later: at most one of each kind, in the place of those sent before. */
  async publish(stream: MediaStream): Promise<void> {
    await Promise.all(stream.getTracks().map((track) => this.replaceTrack(track.kind as Kind, track)));
  }

  /** Sends another track of this kind, or none. The track given before is not stopped: it is yours. */
  async replaceTrack(kind: Kind, track: MediaStreamTrack | null): Promise<void> {
    this.#tracks.set(kind, track);
    await Promise.all([...this.#peers.values()].map((peer) => peer.setTrack(kind, track)));
    if (kind === 'video') this.#shareUplink();
  }

  /** Tells everybody about this side, in addition to what was told before. */
  setPresence(presence: Presence): void {
    this.self.presence = {...this.self.presence, ...presence};
    this.#tellPresence();
  }

  /** Tells everybody another name. */
  setName(name: string): void {
    this.self.name = name;
    this.#tellPresence();
  }

  /** Says a text to everybody who is here. What a peer cannot take yet waits for it, up to a bound. */
  chat(text: string): void {
    for (const peer of this.#peers.values()) peer.chat(text);
  }

  /** Sends a value that JSON can hold, up to 60 KiB, to everybody's program: it arrives there as 'message'. */
  send(data: unknown): void {
    for (const peer of this.#peers.values()) peer.send(data);
  }

  /** Leaves: everybody sees it at once. Tracks are not stopped. */
  leave(): void {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    this.#session.leave();
    for (const peer of [...this.#peers.values()]) {
      peer.bye();
      peer.leave('left');
    }
  }

  #tellPresence(): void {
    this.#session.send({type: 'presence', name: this.self.name, state: this.self.presence});
  }

  #welcome(frame: WelcomeFrame): void {
    this.self.id = frame.self.id;
    this.link = frame.link;
    this.capacity = frame.limits.peersPerRoom;
    this.#configure(frame.iceServers);
    const present = new Set(frame.peers.map((info) => info.id));
    for (const peer of [...this.#peers.values()]) if (!present.has(peer.id)) peer.away('unknown');
    for (const info of frame.peers) {
      const peer = this.#peers.get(info.id);
      if (!peer) {
        this.#add(new Peer(info, this.#host, true));
        continue;
      }
      peer.describe(info.name, info.state ?? {});
      peer.present(true);
    }
  }

  #configure(given: RTCIceServer[]): void {
    this.#host.configuration = {
      iceServers: this.options.iceServers?.(given) ?? given,
      iceTransportPolicy: this.options.relayOnly ? 'relay' : 'all',
      bundlePolicy: 'max-bundle',
    };
  }

  #message(message: ServerMessage): void {
    switch (message.type) {
      case 'iceServers': // allocations keep the credential they were made with; the next search needs one that has not expired
        this.#configure(message.iceServers);
        for (const peer of this.#peers.values()) peer.configure();
        return;
      case 'joined': {
        const peer = this.#peers.get(message.peer.id);
        if (!peer) return this.#add(new Peer(message.peer, this.#host, false));
        peer.describe(message.peer.name, message.peer.state ?? {});
        return peer.present(true);
      }
      case 'left':
        if (message.reason === 'left') return this.#peers.get(message.peer)?.leave('left');
        return this.#peers.get(message.peer)?.away(message.reason);
      case 'presence':
        return this.#peers.get(message.from)?.describe(message.name, message.state ?? {});
      case 'description':
      case 'candidate':
        return this.#peers.get(message.from)?.signal(message);
      case 'error': // somebody left a moment before we spoke to them: that is ordinary
        if (message.code !== 'no-such-peer') console.warn(`parley: ${message.message} (${message.code})`);
        return;
      case 'draining':
        return this.emit('draining', message.seconds);
    }
  }

  #add(peer: Peer): void {
    this.#peers.set(peer.id, peer);
    this.#shareUplink();
    this.emit('peer', peer);
  }

  #remove(peer: Peer, reason: Reason): void {
    this.#peers.delete(peer.id);
    this.#shareUplink();
    this.#dependOnServer();
    this.emit('left', {peer, reason});
  }

  #shareUplink(): void {
    for (const peer of this.#peers.values()) peer.limitVideo();
  }

  /** The relay went with the server, and comes back with it. */
  #dependOnServer(): void {
    this.#session.urgent = [...this.#peers.values()].some((peer) => peer.path?.kind === 'relayed');
  }

  #networkChanged(): void {
    this.#networkIsNew = true;
    this.#session.reconnect();
  }

  /** The way to the server is there (again). */
  #refresh(): void {
    for (const peer of this.#peers.values()) peer.refresh(this.#networkIsNew);
    this.#networkIsNew = false;
  }
}

/**
 * Takes a seat in a room: `join('/r/kitchen', {name: 'Ada'})`. The address is a path of this page's server, or whole.
 *
 * Rejects with a ParleyError: a code of the server's, 'unreachable' after 15 s, 'bad-address', or 'unsupported'.
 */
export async function join(address: string | URL, options: JoinOptions = {}): Promise<Room> {
  if (typeof RTCPeerConnection === 'undefined') {
    throw new ParleyError('unsupported', 'This browser cannot make calls: WebRTC is missing or switched off. Use another browser, or allow it.');
  }
  const url = new URL(address, location.href);
  const name = /^\/r\/([a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)$/.exec(url.pathname)?.[1];
  if (!name) {
    throw new ParleyError('bad-address', 'A room is addressed as /r/ and its name: 1 to 64 of a-z, 0-9 and -, not beginning or ending with -.');
  }
  const signaling = new URL('/api/signal', url);
  if (url.origin === location.origin && (await isTrusted())) signaling.searchParams.set('trusted', '1'); // for relays over TLS
  options.signal?.throwIfAborted();
  const room = new Room(signaling, name, options);
  let timer: number | undefined;
  try {
    await Promise.race([
      room.ready,
      new Promise((_, reject) => {
        timer = setTimeout(() => reject(new ParleyError('unreachable', unreachable)), joinWithin);
        options.signal?.addEventListener('abort', () => reject(options.signal?.reason as Error), {once: true});
      }),
    ]);
  } catch (error) {
    room.leave();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return room;
}

function hasRelay({iceServers}: RTCConfiguration): boolean {
  return iceServers?.some(({urls}) => [urls].flat().some((url) => /^turns?:/i.test(url))) ?? false;
}

/** Calls changed when the device goes from one kind of network to another, where the browser tells. */
function watchNetworkType(changed: () => void, signal: AbortSignal): void {
  const network = (navigator as Navigator & {connection?: EventTarget & {type?: string}}).connection;
  let type = network?.type;
  network?.addEventListener(
    'change',
    () => {
      if (network.type !== type && network.type !== 'none') changed();
      type = network.type;
    },
    {signal},
  );
}
