import {Emitter} from '../sdk/emitter.ts';
import type {Kind} from '../sdk/index.ts';
import {memory} from './dom.ts';

/** Why there is no camera or microphone; help.ts says what to do. */
export type Problem = 'denied' | 'denied-by-system' | 'missing' | 'busy' | 'insecure' | 'other';

export type DeviceKind = Kind | 'speaker';

interface MediaEvents {
  /** A track came, went or was muted; or there is a problem, or none any more. */
  change: Kind;
  /** Devices were plugged in or out. */
  devices: undefined;
}

const constraints: Record<Kind, MediaTrackConstraints> = {
  audio: {echoCancellation: true, noiseSuppression: true, autoGainControl: true},
  video: {width: {ideal: 1280}, height: {ideal: 720}, frameRate: {ideal: 30}, facingMode: 'user'},
};

const permissions = {audio: 'microphone', video: 'camera'} as const;

/** Media is this side's camera and microphone: what is wanted, what there is, and why not. */
export class Media extends Emitter<MediaEvents> {
  readonly tracks: Record<Kind, MediaStreamTrack | null> = {audio: null, video: null};
  readonly problems: Partial<Record<Kind, Problem>> = {};
  #muted = false;

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener('devicechange', () => this.emit('devices', undefined));
  }

  /** Whether the others hear, or see, anything. */
  has(kind: Kind): boolean {
    return this.tracks[kind] !== null && !(kind === 'audio' && this.#muted);
  }

  /** Opens what is asked for, as far as it can be had. The browser may ask the user. */
  async open(...kinds: Kind[]): Promise<void> {
    const problem = await this.#get(kinds);
    if (problem === undefined) return;
    if (kinds.length === 1 || problem === 'insecure') {
      for (const kind of kinds) this.#report(kind, problem);
      return;
    }
    // Together they failed; one of them may still do. One that the user refused just now is not asked for again.
    for (const kind of kinds) {
      const state = await permission(kind);
      if (problem === 'denied' && state !== 'granted') this.#report(kind, problem);
      else await this.open(kind);
    }
  }

  /** Lets a device go, so that its light goes out. */
  close(kind: Kind): void {
    const track = this.tracks[kind];
    if (!track) return;
    this.tracks[kind] = null;
    track.onended = null;
    track.stop();
    this.emit('change', kind);
  }

  closeAll(): void {
    this.close('audio');
    this.close('video');
  }

  /** A muted microphone stays open, so that speaking again is instant. */
  mute(muted: boolean): void {
    this.#muted = muted;
    if (this.tracks.audio) this.tracks.audio.enabled = !muted;
    this.emit('change', 'audio');
  }

  /** Changes to another device, and remembers it. */
  async choose(kind: Kind, deviceId: string): Promise<void> {
    memory.set(`device.${kind}`, deviceId);
    this.close(kind); // some systems open one camera at a time
    await this.open(kind);
  }

  async #get(kinds: Kind[]): Promise<Problem | undefined> {
    const request: MediaStreamConstraints = {};
    for (const kind of kinds) {
      const deviceId = memory.get(`device.${kind}`);
      request[kind] = deviceId ? {...constraints[kind], deviceId: {ideal: deviceId}} : constraints[kind];
    }
    try {
      if (!isSecureContext || !navigator.mediaDevices) return 'insecure';
      const stream = await navigator.mediaDevices.getUserMedia(request);
      for (const track of stream.getTracks()) this.#adopt(track.kind as Kind, track);
      return undefined;
    } catch (error) {
      return problemOf(error);
    }
  }

  #adopt(kind: Kind, track: MediaStreamTrack): void {
    this.tracks[kind]?.stop();
    this.tracks[kind] = track;
    delete this.problems[kind];
    if (kind === 'audio') track.enabled = !this.#muted;
    track.onended = () => {
      this.close(kind);
      void this.open(kind); // unplugged, perhaps: another one may do
    };
    this.emit('change', kind);
    this.emit('devices', undefined); // names are told only now
  }

  #report(kind: Kind, problem: Problem): void {
    this.problems[kind] = problem;
    this.emit('change', kind);
  }
}

function problemOf(error: unknown): Problem {
  switch (error instanceof DOMException ? error.name : '') {
    case 'NotAllowedError':
      return /system/i.test((error as DOMException).message) ? 'denied-by-system' : 'denied';
    case 'SecurityError':
      return 'denied';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'missing';
    case 'NotReadableError':
    case 'AbortError':
      return 'busy';
  }
  return 'other';
}

/** What the browser would answer now; 'prompt' also where it does not tell. */
export async function permission(kind: Kind): Promise<PermissionState> {
  try {
    return (await navigator.permissions.query({name: permissions[kind]})).state;
  } catch {
    return 'prompt';
  }
}

/** The devices of a kind, once the browser tells their names. */
export async function devices(kind: DeviceKind): Promise<MediaDeviceInfo[]> {
  const wanted = {audio: 'audioinput', video: 'videoinput', speaker: 'audiooutput'}[kind];
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return all.filter((device) => device.kind === wanted && device.deviceId !== '' && device.label !== '');
}

/** The loudspeaker that was chosen; empty: the system's. */
export const speaker = {
  get id(): string {
    return memory.get('device.speaker');
  },
  set id(id: string) {
    memory.set('device.speaker', id);
  },
  /** Only some browsers let a page choose. */
  get selectable(): boolean {
    return 'setSinkId' in HTMLMediaElement.prototype;
  },
  /** Makes an element sound on the chosen loudspeaker. */
  async apply(element: HTMLMediaElement): Promise<void> {
    if (!this.selectable) return;
    await element.setSinkId(this.id).catch(() => element.setSinkId('')); // unplugged: the system's
  },
};

let context: AudioContext | undefined;

/** One audio context for the page. It may sleep until the user touches something; then it wakes. */
function audioContext(): AudioContext {
  if (!context) {
    const made = (context = new AudioContext());
    const wake = () => void made.resume();
    for (const event of ['pointerdown', 'keydown']) addEventListener(event, wake);
  }
  return context;
}

/** Measures how loud a track is; returns a function that gives 0 to 1 and, as `stop`, the end of it. */
export function meter(track: MediaStreamTrack): {level: () => number; stop: () => void} {
  const audio = audioContext();
  const source = audio.createMediaStreamSource(new MediaStream([track]));
  const analyser = audio.createAnalyser();
  analyser.fftSize = 1024;
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  return {
    level: () => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      return power === 0 ? 0 : Math.max(0, Math.min(1, 1 + (10 * Math.log10(power)) / 60)); // -60 dB to 0 dB
    },
    stop: () => source.disconnect(),
  };
}

/** Plays three notes on the chosen loudspeaker. */
export async function testSpeaker(): Promise<void> {
  const audio = audioContext();
  await audio.resume();
  const out = audio.createMediaStreamDestination();
  [523.25, 659.25, 783.99].forEach((frequency, i) => {
    const start = audio.currentTime + 0.1 + i * 0.22;
    const note = audio.createOscillator();
    const gain = audio.createGain();
    note.frequency.value = frequency;
    gain.gain.setValueAtTime(0, start);
    gain.gain.linearRampToValueAtTime(0.25, start + 0.03);
    gain.gain.exponentialRampToValueAtTime(0.001, start + 0.6);
    note.connect(gain).connect(out);
    note.start(start);
    note.stop(start + 0.65);
  });
  const element = new Audio();
  element.srcObject = out.stream;
  await speaker.apply(element);
  await element.play();
  await new Promise((resolve) => setTimeout(resolve, 1400));
  element.srcObject = null;
}
