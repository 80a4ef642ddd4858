// What the tests look at from inside a page. It is put into every page before the page's own scripts, and changes
// nothing that they could notice: it only remembers the RTCPeerConnections that they make.
(() => {
  const connections = [];
  window.RTCPeerConnection = class RTCPeerConnection extends window.RTCPeerConnection {
    constructor(...args) {
      super(...args);
      connections.push(this);
    }
  };

  const canvas = document.createElement('canvas');
  canvas.width = 32;
  canvas.height = 24;

  let marked;
  const gaps = new Map(); // video -> what rVFC saw

  window.e2e = {
    connections,

    // One entry for each connection that lives, with the sums that a call is judged by.
    async calls() {
      const out = [];
      for (const pc of connections) {
        if (pc.connectionState === 'closed') continue;
        const call = {pc: connections.indexOf(pc), state: pc.connectionState, ice: pc.iceConnectionState, framesDecoded: 0, audioEnergy: 0, packetsLost: 0, local: '', remote: ''};
        const stats = await pc.getStats();
        stats.forEach((s) => {
          if (s.type === 'inbound-rtp' && s.kind === 'video') call.framesDecoded += s.framesDecoded || 0;
          if (s.type === 'inbound-rtp' && s.kind === 'audio') call.audioEnergy += s.totalAudioEnergy || 0;
          if (s.type === 'transport' && s.selectedCandidatePairId) {
            const pair = stats.get(s.selectedCandidatePairId);
            const text = (c) => (c ? `${c.candidateType} ${c.protocol} ${c.address}` : '');
            if (pair) {
              call.local = text(stats.get(pair.localCandidateId));
              call.remote = text(stats.get(pair.remoteCandidateId));
            }
          }
        });
        out.push(call);
      }
      return out;
    },

    // The hosts that ICE was told to ask.
    iceHosts() {
      return connections.flatMap((pc) => (pc.getConfiguration().iceServers || []).flatMap((s) => [].concat(s.urls)));
    },

    // What a video element shows at this moment, as numbers.
    pixels(video) {
      const c = canvas.getContext('2d', {willReadFrequently: true});
      c.drawImage(video, 0, 0, canvas.width, canvas.height);
      return Array.from(c.getImageData(0, 0, canvas.width, canvas.height).data);
    },

    // mark remembers how far each connection and each video has come; progressed is true if there are exactly n
    // connections and videos, and all of them have come further since: more frames, other pixels, more sound. Else it throws why not.
    async mark(videos) {
      marked = {calls: new Map(), pixels: new Map()};
      for (const call of await e2e.calls()) marked.calls.set(call.pc, call);
      for (const video of videos) marked.pixels.set(video, e2e.pixels(video));
    },
    async progressed(videos, n) {
      const calls = await e2e.calls();
      if (calls.length !== n || videos.length !== n) throw new Error(`${calls.length} connections and ${videos.length} videos, not ${n}`);
      for (const call of calls) {
        const before = marked.calls.get(call.pc) ?? {framesDecoded: 0, audioEnergy: 0};
        if (call.state !== 'connected' || call.framesDecoded < before.framesDecoded + 10 || call.audioEnergy <= before.audioEnergy) {
          throw new Error(`${JSON.stringify(call)} has not come further than ${JSON.stringify(before)}`);
        }
      }
      for (const video of videos) {
        const before = marked.pixels.get(video);
        if (before && !e2e.pixels(video).some((v, i) => Math.abs(v - before[i]) > 16)) throw new Error('a video stands still');
      }
      return true;
    },

    // What there is to know after a failure.
    async autopsy() {
      const elements = [...document.querySelectorAll('video, audio')].map((e) => ({
        of: e.closest('[aria-label]')?.ariaLabel, kind: e.localName, paused: e.paused, muted: e.muted, time: e.currentTime, ready: e.readyState,
        tracks: e.srcObject?.getTracks().map((t) => `${t.kind} ${t.readyState}${t.muted ? ' muted' : ''}`),
      }));
      return {calls: await e2e.calls(), marked: marked && [...marked.calls.values()], elements};
    },

    // Whether no sound arrives for so many milliseconds. The comfort of a call is not absolute silence.
    async silent(ms) {
      const energy = async () => (await e2e.calls()).reduce((sum, call) => sum + call.audioEnergy, 0);
      const before = await energy();
      await new Promise((resolve) => setTimeout(resolve, ms));
      return (await energy()) - before < 1e-6;
    },

    // Follows the frames of a video element from now on. The time between two frames is measured where they were
    // received (receiveTime), so that a page that was slow to paint is not mistaken for a call that stood still.
    watchFrames(video) {
      const seen = {frames: 0, gap: 0, last: null};
      gaps.set(video, seen);
      const step = (_now, m) => {
        if (gaps.get(video) !== seen) return;
        const at = m.receiveTime ?? m.presentationTime;
        if (seen.last !== null) {
          const missed = Math.max(1, m.presentedFrames - seen.last.presentedFrames);
          seen.gap = Math.max(seen.gap, (at - seen.last.at) / missed);
          seen.frames += missed;
        }
        seen.last = {at, presentedFrames: m.presentedFrames};
        video.requestVideoFrameCallback(step);
      };
      video.requestVideoFrameCallback(step);
    },

    // {frames, gap}: frames since watchFrames, and the longest time in milliseconds without one.
    frames(video) {
      const {frames, gap} = gaps.get(video);
      return {frames, gap};
    },
  };
})();
