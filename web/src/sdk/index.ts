/**
 * Parley's browser SDK: docs/sdk.md.
 *
 *     import * as parley from '/sdk.js';
 *     const room = await parley.join('/r/kitchen', {name: 'Ada'});
 *     room.on('peer', (peer) => peer.on('track', () => attach(peer.stream)));
 *     await room.publish(await navigator.mediaDevices.getUserMedia({audio: true, video: true}));
 */
export {join} from './room.ts';
export {ParleyError} from './errors.ts';
export {isTrusted} from './trust.ts';
export type {CarrierKind} from './carrier.ts';
export type {ErrorCode} from './errors.ts';
export type {Kind} from './link.ts';
export type {Path, Quality} from './path.ts';
export type {ChatMessage, Peer, PeerEvents, PeerState, Presence} from './peer.ts';
export type {Connection, ConnectionEvents, JoinOptions, Room, RoomEvents} from './room.ts';
export type {ConnectionState} from './session.ts';
