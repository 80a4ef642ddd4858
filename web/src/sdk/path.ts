/** How media travels between two browsers, as getStats tells. */
export interface Path {
  /** Straight to the other's network, or through a relay. */
  readonly kind: 'direct' | 'relayed';
  /** For people: "direct", "relayed over udp", "relayed over tls". */
  readonly description: string;
  /** Round trip in milliseconds, if it was measured. */
  readonly roundTrip: number | undefined;
}

/** How well it goes: good, so that one may notice, or so that it disturbs. */
export type Quality = 'good' | 'fair' | 'poor';

/** A Report is what one look at a connection's statistics says. */
export interface Report {
  readonly path: Path | undefined;
  readonly quality: Quality;
}

/** Counters of the look before, to tell what happened since. */
export interface Counters {
  received: number;
  lost: number;
}

// The parts of the W3C's statistics (webrtc-stats) that are read here; lib.dom leaves most of them out.
interface Stats {
  id: string;
  type: string;
  selectedCandidatePairId?: string;
  selected?: boolean;
  nominated?: boolean;
  state?: string;
  localCandidateId?: string;
  remoteCandidateId?: string;
  currentRoundTripTime?: number;
  candidateType?: string;
  relayProtocol?: string;
  packetsReceived?: number;
  packetsLost?: number;
  fractionLost?: number;
}

/** Reads the path and the quality out of statistics, and leaves in counters what the next look compares with. */
export function readStats(report: RTCStatsReport, counters: Counters): Report {
  const all = new Map<string, Stats>();
  report.forEach((stats: Stats) => all.set(stats.id, stats));
  const path = readPath(all);

  let received = 0;
  let lost = 0;
  let theirLoss = 0;
  for (const stats of all.values()) {
    if (stats.type === 'inbound-rtp') {
      received += stats.packetsReceived ?? 0;
      lost += stats.packetsLost ?? 0;
    } else if (stats.type === 'remote-inbound-rtp') {
      theirLoss = Math.max(theirLoss, stats.fractionLost ?? 0);
    }
  }
  const gone = Math.max(0, lost - counters.lost);
  const came = Math.max(0, received - counters.received);
  counters.lost = lost;
  counters.received = received;
  const ourLoss = gone + came > 0 ? gone / (gone + came) : 0;
  return {path, quality: judge(Math.max(ourLoss, theirLoss), path?.roundTrip ?? 0)};
}

/** The bounds are those at which speech starts to suffer: ITU-T G.114 for delay, Opus with its repair for loss. */
function judge(loss: number, roundTrip: number): Quality {
  if (loss > 0.1 || roundTrip > 600) return 'poor';
  if (loss > 0.03 || roundTrip > 300) return 'fair';
  return 'good';
}

function readPath(all: ReadonlyMap<string, Stats>): Path | undefined {
  const pair = selectedPair(all);
  const local = all.get(pair?.localCandidateId ?? '');
  const remote = all.get(pair?.remoteCandidateId ?? '');
  if (!pair || !local || !remote) return undefined;
  const roundTrip = pair.currentRoundTripTime === undefined ? undefined : Math.round(pair.currentRoundTripTime * 1000);
  if (local.candidateType === 'relay') {
    return {kind: 'relayed', description: `relayed over ${local.relayProtocol ?? 'udp'}`, roundTrip};
  }
  if (remote.candidateType === 'relay') return {kind: 'relayed', description: 'relayed by the other side', roundTrip};
  return {kind: 'direct', description: 'direct', roundTrip};
}

function selectedPair(all: ReadonlyMap<string, Stats>): Stats | undefined {
  for (const stats of all.values()) {
    if (stats.type === 'transport' && stats.selectedCandidatePairId) return all.get(stats.selectedCandidatePairId);
  }
  for (const stats of all.values()) {
    if (stats.type === 'candidate-pair' && (stats.selected || (stats.nominated && stats.state === 'succeeded'))) return stats;
  }
  return undefined;
}
