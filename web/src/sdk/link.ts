import {randomText} from './random.ts';
import type {ICECandidate, SessionDescription} from './protocol.gen.ts';

/** The label of the data channel that every link has, agreed upon beforehand: nothing to negotiate, the same id on both sides. */
const channelLabel = 'parley';
const channelId = 0;

/** Candidates that come before the description they belong to are kept, up to this many. */
const maxEarly = 64;

/** How long the side that was there first waits for the newcomer to call. */
const callWithin = 3_000;

/** The most that waits in the data channel before more is kept back, in bytes. */
const channelFull = 1 << 20;

export type Kind = 'audio' | 'video';

/** What one peer's video may take: bits per second, and how many times smaller than the camera's picture it is. */
export interface VideoLimit {
  maxBitrate: number;
  scaleResolutionDownBy: number;
}

export interface LinkConfig {
  configuration: RTCConfiguration;
  /** Gives way when both sides offer at the same time. */
  polite: boolean;
  /** Makes the first offer; the other side does if none comes. */
  caller: boolean;
  /** What this side's tracks belong to, so that the other side plays them in step. */
  stream: MediaStream;
  onSignal: (message: {description: SessionDescription} | {candidate: ICECandidate}) => void;
  onState: () => void;
  onTrack: (track: MediaStreamTrack, receiver: RTCRtpReceiver) => void;
  onChannel: () => void;
  onText: (text: string) => void;
  /** This connection cannot go on: what the other side says does not fit. */
  onBroken: (error: unknown) => void;
}

/**
 * A Link is one RTCPeerConnection with perfect negotiation (W3C WebRTC, section 10.7): either side may offer at any
 * time, descriptions and candidates come in through receive, in order, and go out through onSignal.
 */
export class Link {
  /** Names this object to the other side. */
  readonly label = randomText(12);
  readonly pc: RTCPeerConnection;
  readonly #channel: RTCDataChannel;
  readonly #senders = new Map<Kind, RTCRtpSender>();
  readonly #early: ICECandidate[] = [];
  #making = false;
  #ignoring = false;
  #waitsForCall: boolean;
  #wantsOffer = false;
  #incoming: Promise<void> = Promise.resolve();
  #watched = false;
  #closed = false;

  constructor(private readonly config: LinkConfig) {
    this.#waitsForCall = !config.caller;
    const pc = (this.pc = new RTCPeerConnection(config.configuration));
    pc.onnegotiationneeded = () => void this.#offer();
    pc.onicecandidate = ({candidate}) => candidate && config.onSignal({candidate: candidate.toJSON()});
    pc.onconnectionstatechange = () => {
      if (this.connected) this.#watchPath();
      config.onState();
    };
    pc.ontrack = ({track, receiver}) => config.onTrack(track, receiver);
    this.#channel = pc.createDataChannel(channelLabel, {negotiated: true, id: channelId, ordered: true});
    this.#channel.onopen = () => config.onChannel();
    this.#channel.onbufferedamountlow = () => config.onChannel();
    this.#channel.bufferedAmountLowThreshold = channelFull / 2;
    this.#channel.onmessage = ({data}: MessageEvent<unknown>) => typeof data === 'string' && config.onText(data);
    if (this.#waitsForCall) setTimeout(() => this.#call(), callWithin);
  }

  get connected(): boolean {
    return this.pc.connectionState === 'connected';
  }

  /** Takes other servers for the next search. */
  configure(configuration: RTCConfiguration): void {
    if ('setConfiguration' in this.pc) this.pc.setConfiguration(configuration); // Firefox learned it late
  }

  /** Sends this track from now on, or nothing of that kind. */
  async setTrack(kind: Kind, track: MediaStreamTrack | null): Promise<void> {
    const sender = this.#senders.get(kind);
    if (sender) await sender.replaceTrack(track);
    else if (track) this.#senders.set(kind, this.pc.addTrack(track, this.config.stream));
  }

  /** Bounds what video takes of uplink and processor. */
  async limitVideo({maxBitrate, scaleResolutionDownBy}: VideoLimit): Promise<void> {
    const sender = this.#senders.get('video');
    const parameters = sender?.getParameters();
    if (!sender || !parameters?.encodings?.[0] || parameters.encodings[0].maxBitrate === maxBitrate) return;
    for (const encoding of parameters.encodings) Object.assign(encoding, {maxBitrate, scaleResolutionDownBy});
    await sender.setParameters(parameters).catch(() => undefined); // not negotiated yet, or overtaken: the next call does it
  }

  /** What was on the old path is lost. Without a whole picture the other side would wait for seconds until it asks for one. */
  #watchPath(): void {
    if (this.#watched) return;
    this.#watched = true;
    const ice = this.#senders.get('video')?.transport?.iceTransport;
    if (ice) ice.onselectedcandidatepairchange = () => void this.#wholePicture();
  }

  async #wholePicture(): Promise<void> {
    const sender = this.#senders.get('video');
    const parameters = sender?.getParameters();
    if (!sender || !parameters?.encodings?.[0] || this.#closed) return;
    const options = {encodingOptions: parameters.encodings.map(() => ({keyFrame: true}))}; // webrtc-extensions, section 6.1
    const set = sender.setParameters as (parameters: RTCRtpSendParameters, options: object) => Promise<void>;
    await set.call(sender, parameters, options).catch(() => undefined); // it comes when it is asked for
  }

  /** Sends a text to the other side; false while the channel cannot take it. */
  sendText(text: string): boolean {
    if (this.#channel.readyState !== 'open' || this.#channel.bufferedAmount > channelFull) return false;
    this.#channel.send(text);
    return true;
  }

  /** Looks for a new path, over the old one as long as that lasts. */
  restart(): void {
    this.#waitsForCall = false;
    if (this.pc.signalingState === 'have-local-offer') this.resend();
    else this.pc.restartIce();
  }

  /** Says again what the other side may not have heard, because the server forgot it. */
  resend(): void {
    const description = this.pc.localDescription;
    if (this.pc.signalingState === 'have-local-offer' && description) this.config.onSignal({description: description.toJSON()});
  }

  /** Takes what the other side signalled. */
  receive(message: {description: SessionDescription} | {candidate: ICECandidate}): void {
    this.#incoming = this.#incoming.then(async () => {
      if (this.#closed) return;
      if (this.pc.signalingState === 'closed') return this.config.onBroken(new Error('closed by the browser'));
      try {
        await ('description' in message ? this.#describe(message.description) : this.#candidate(message.candidate));
      } catch (error) {
        if (!this.#closed) this.config.onBroken(error);
      }
    });
  }

  close(): void {
    this.#closed = true;
    const {pc} = this;
    pc.onnegotiationneeded = pc.onicecandidate = pc.onconnectionstatechange = pc.ontrack = null;
    this.#channel.onopen = this.#channel.onmessage = this.#channel.onbufferedamountlow = null;
    pc.close();
  }

  /** The newcomer has not called: this side does. */
  #call(): void {
    if (this.#closed || !this.#waitsForCall) return;
    this.#waitsForCall = false;
    if (this.#wantsOffer) void this.#offer();
  }

  async #offer(): Promise<void> {
    this.#wantsOffer = true;
    if (this.#waitsForCall) return;
    this.#wantsOffer = false;
    try {
      this.#making = true;
      await this.pc.setLocalDescription();
      this.#describeSelf();
    } catch (error) {
      if (!this.#closed) this.config.onBroken(error);
    } finally {
      this.#making = false;
    }
  }

  async #describe(description: SessionDescription): Promise<void> {
    const {pc, config} = this;
    if (description.type === 'rollback') return this.#call(); // the newcomer does not
    const collision = description.type === 'offer' && (this.#making || pc.signalingState !== 'stable');
    this.#ignoring = collision && !config.polite;
    if (this.#ignoring) return;
    if (description.type === 'answer' && pc.signalingState === 'stable') return; // of an offer that was sent twice
    this.#waitsForCall = false;
    await pc.setRemoteDescription({type: description.type, sdp: description.sdp ?? ''});
    for (const candidate of this.#early.splice(0)) await this.#candidate(candidate);
    if (description.type !== 'offer') return;
    await pc.setLocalDescription();
    this.#describeSelf();
  }

  #describeSelf(): void {
    const description = this.pc.localDescription;
    if (description && !this.#closed) this.config.onSignal({description: description.toJSON()});
  }

  async #candidate(candidate: ICECandidate): Promise<void> {
    if (!this.pc.remoteDescription) {
      if (this.#early.length < maxEarly) this.#early.push(candidate);
      return;
    }
    try {
      await this.pc.addIceCandidate({
        candidate: candidate.candidate ?? '',
        sdpMid: candidate.sdpMid ?? null,
        sdpMLineIndex: candidate.sdpMLineIndex ?? null,
        usernameFragment: candidate.usernameFragment ?? null,
      });
    } catch {
      // One candidate that does not fit (of an offer that was ignored, of an older generation, of an unknown kind) is one path fewer.
    }
  }
}
