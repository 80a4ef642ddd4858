import type {Peer} from '../sdk/index.ts';
import {fill, h, icon} from './dom.ts';
import {meter, speaker} from './media.ts';
import type {Media} from './media.ts';

/** From this level on somebody speaks: quieter is breathing. */
const speakingFrom = 0.02;
/** The ring stays for this long after a word, in milliseconds. */
const speakingFor = 400;

/** A picture that stands still for this long, in milliseconds, is attached anew; then half as often each time, down to slowest. */
const stillFor = 2000;
const stillSlowest = 60_000;

/** A Tile shows one participant. */
export interface Tile {
  readonly element: HTMLElement;
  /** Called about ten times a second. */
  tick(now: number): void;
  remove(): void;
}

/** The parts that every tile has. */
function frame(id: string, self: boolean): {
  element: HTMLElement; video: HTMLVideoElement; setName: (name: string) => void; setMuted: (muted: boolean) => void;
  setVideo: (on: boolean) => void; speaks: (level: number, now: number) => void; corner: HTMLElement; cover: HTMLElement;
} {
  const video = h('video', {autoplay: true, playsInline: true, 'aria-hidden': 'true'});
  video.muted = true; // sound has an element of its own, so that a picture never waits for permission to sound
  const initials = h('span.initials', {'aria-hidden': 'true'});
  const name = h('span.name', {testid: 'tile-name'});
  const micOff = icon('micOff');
  const plate = h('div.plate', {}, micOff, name);
  const corner = h('div.corner');
  const cover = h('div.tile-cover');
  const element = h('section.tile', {testid: self ? 'tile-self' : 'tile', 'data-peer': id, class: `hue-${hue(id)}`}, initials, video, cover, corner, plate);
  let spoke = 0;
  return {
    element, video, corner, cover,
    setName: (text) => {
      name.textContent = text;
      initials.textContent = initialsOf(text);
      element.setAttribute('aria-label', text);
    },
    setMuted: (muted) => {
      element.dataset['muted'] = String(muted);
      micOff.style.display = muted ? '' : 'none';
      if (muted) spoke = 0;
    },
    setVideo: (on) => (element.dataset['video'] = String(on)),
    speaks: (level, now) => {
      if (level > speakingFrom) spoke = now;
      element.classList.toggle('speaking', now - spoke < speakingFor);
    },
  };
}

export function selfTile(media: Media, id: string, name: string): Tile {
  const tile = frame(id, true);
  tile.setName(name ? `${name} (you)` : 'You');
  let m: ReturnType<typeof meter> | undefined;
  const draw = () => {
    const track = media.tracks.video;
    const current = (tile.video.srcObject as MediaStream | null)?.getVideoTracks()[0];
    if (current !== (track ?? undefined)) tile.video.srcObject = track ? new MediaStream([track]) : null;
    tile.setVideo(track !== null);
    tile.setMuted(!media.has('audio'));
  };
  const measure = () => {
    m?.stop();
    m = media.tracks.audio ? meter(media.tracks.audio) : undefined;
  };
  let audio = media.tracks.audio;
  const off = media.on('change', () => {
    if (audio !== media.tracks.audio) measure();
    audio = media.tracks.audio;
    draw();
  });
  measure();
  draw();
  return {
    element: tile.element,
    tick: (now) => tile.speaks(m && media.has('audio') ? Math.max(0, m.level() - 0.35) : 0, now),
    remove: () => {
      off();
      m?.stop();
      tile.video.srcObject = null;
      tile.element.remove();
    },
  };
}

/** What a peer's tile may ask of the call. */
export interface PeerTileHost {
  /** Whether this page may sound at all: not in a second tab. */
  readonly sound: boolean;
  /** The browser does not let the page sound before the user touches it. */
  blocked(): void;
}

export interface PeerTile extends Tile {
  /** Plays sound, if the page may. */
  play(): void;
  /** Takes the loudspeaker that was chosen. */
  route(): void;
}

export function peerTile(peer: Peer, host: PeerTileHost): PeerTile {
  const tile = frame(peer.id, false);
  const audio = h('audio', {autoplay: false, testid: 'audio'});
  const bars = h('span.bars', {'aria-hidden': 'true'}, h('i'), h('i'), h('i'));
  const path = h('span.path', {testid: 'path'});
  tile.corner.append(bars, path);
  tile.element.append(audio);
  tile.video.dataset['testid'] = 'video';

  const play = () => {
    audio.muted = !host.sound;
    if (!audio.srcObject) return;
    audio.play().catch((error: unknown) => {
      if (error instanceof DOMException && error.name === 'NotAllowedError') host.blocked();
    });
  };
  const draw = () => {
    tile.setName(peer.name || 'Guest');
    tile.setMuted(peer.presence.audio === false || peer.stream.getAudioTracks().length === 0);
    tile.setVideo(peer.presence.video !== false && peer.stream.getVideoTracks().length > 0);
  };
  const attach = () => {
    // Given anew each time: not every browser notices a track that came later.
    if (peer.stream.getVideoTracks().length > 0) tile.video.srcObject = peer.stream;
    if (peer.stream.getAudioTracks().length > 0) audio.srcObject = peer.stream;
    void tile.video.play().catch(() => undefined);
    play();
    draw();
  };
  // Chromium may go on showing the last picture from before a change of network, while new ones are decoded: it keeps to the clock
  // of the stream as it was. Attached anew, the element begins with a clock of its own.
  const attachAnew = () => {
    tile.video.srcObject = null;
    attach();
  };
  let seen = 0;
  let moved = performance.now();
  let patience = stillFor;
  const watch = (now: number) => {
    const frames = tile.video.getVideoPlaybackQuality().totalVideoFrames;
    const expected = peer.state === 'connected' && tile.element.dataset['video'] === 'true' && document.visibilityState === 'visible';
    if (frames !== seen || !expected) {
      if (frames > seen) patience = stillFor;
      seen = frames;
      moved = now;
    } else if (now - moved > patience) {
      patience = Math.min(2 * patience, stillSlowest);
      seen = 0;
      moved = now;
      attachAnew();
    }
  };
  let state = peer.state;
  const drawState = () => {
    if (state === 'reconnecting' && peer.state === 'connected') attachAnew();
    state = peer.state;
    tile.element.dataset['state'] = peer.state;
    const name = peer.name || 'this guest';
    switch (peer.state) {
      case 'connecting':
        return fill(tile.cover, h('p', {}, h('span.spinner'), 'Connecting…'));
      case 'reconnecting':
        return fill(tile.cover, h('p', {}, h('span.spinner'), 'Reconnecting…'));
      case 'failed':
        return fill(tile.cover, h('p', {}, icon('warn'), `No way to ${name} yet`), h('p.hint', {}, 'One of the two networks lets nothing through. Parley keeps trying; another network helps.'));
      default:
        return fill(tile.cover);
    }
  };
  const drawPath = () => {
    path.textContent = peer.path ? [peer.path.description, peer.path.roundTrip !== undefined && `${peer.path.roundTrip} ms`].filter(Boolean).join(' · ') : '';
    tile.corner.dataset['quality'] = peer.quality;
    tile.corner.title = peer.path ? `Connection: ${peer.quality}, ${path.textContent}` : '';
  };
  const offs = [
    peer.on('track', attach),
    peer.on('presence', draw),
    peer.on('state', drawState),
    peer.on('path', drawPath),
    peer.on('quality', drawPath),
  ];
  attach();
  drawState();
  drawPath();
  void speaker.apply(audio);
  return {
    element: tile.element,
    play,
    route: () => void speaker.apply(audio),
    tick: (now) => {
      tile.speaks(peer.presence.audio === false ? 0 : peer.audioLevel, now);
      watch(now);
    },
    remove: () => {
      for (const off of offs) off();
      tile.video.srcObject = audio.srcObject = null;
      tile.element.remove();
    },
  };
}

function initialsOf(name: string): string {
  const words = name.replace(' (you)', '').split(/\s+/).filter(Boolean);
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined].map((word) => [...(word ?? '')][0] ?? '');
  return letters.join('').toUpperCase() || '·';
}

/** One of six hues, the same on every device. */
function hue(id: string): number {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.charCodeAt(0)) % 6007;
  return sum % 6;
}

/** The grid in which n tiles of about 4:3 are largest. */
export function bestGrid(n: number, width: number, height: number, gap: number): {columns: number; rows: number} {
  let best = {columns: 1, rows: n, area: 0};
  for (let columns = 1; columns <= n; columns++) {
    const rows = Math.ceil(n / columns);
    const w = (width - gap * (columns - 1)) / columns;
    const h = (height - gap * (rows - 1)) / rows;
    const fitted = Math.min(w, h * (4 / 3));
    const area = fitted * fitted;
    if (area > best.area) best = {columns, rows, area};
  }
  return best;
}
