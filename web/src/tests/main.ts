/** Tests of what needs no browser: web_browser_test.go bundles them, runs them in Chromium and reads the result. */
import {Emitter} from '../sdk/emitter.ts';
import {readStats} from '../sdk/path.ts';
import {retryDelay} from '../sdk/retry.ts';
import {Inbox, Outbox, maxWaiting, numbersBytes} from '../sdk/sequence.ts';
import {Session} from '../sdk/session.ts';
import {browser, deviceAdvice, reach} from '../app/help.ts';
import {mint, roomOf, title} from '../app/rooms.ts';
import {bestGrid} from '../app/tile.ts';

const failures: string[] = [];
let passed = 0;

function equal(what: string, got: unknown, want: unknown): void {
  const [g, w] = [JSON.stringify(got), JSON.stringify(want)];
  if (g === w) passed++;
  else failures.push(`${what}: got ${g}, want ${w}`);
}

function sequence(): void {
  const outbox = new Outbox<{n?: number; text?: string}>();
  const said = {n: 1};
  const first = outbox.push(said);
  said.n = 99;
  equal('the first number is 1, and a message is a copy', first, {n: 1, seq: 1});
  outbox.push({n: 2});
  outbox.push({n: 3});
  equal('what waits, in order', outbox.after(0).map((m) => m.n), [1, 2, 3]);
  outbox.acknowledge(2);
  equal('what is acknowledged is forgotten', outbox.after(0).map((m) => m.n), [3]);
  outbox.acknowledge(1);
  outbox.acknowledge(undefined);
  equal('an older acknowledgement changes nothing', outbox.length, 1);
  outbox.acknowledge(1000);
  equal('nor does one of what was never sent', outbox.length, 1);
  for (let i = 0; outbox.push({n: i}); i++);
  equal('at most 1,024 wait', outbox.length, maxWaiting);
  outbox.acknowledge(1026);
  equal('all acknowledged', outbox.length, 0);
  equal('numbers go on', outbox.push({n: 0})?.seq, 1027);
  equal('a message too large has no number', outbox.push({text: 'ä'.repeat(32 << 10)}), undefined);
  equal('and leaves no gap', outbox.push({n: 0})?.seq, 1028);

  const roomy = (bytes: number, frame: number) => new Outbox<{text: string}>(frame).push({text: 'x'.repeat(bytes - '{"text":"","seq":1}'.length)}) !== undefined;
  equal('the server says how large', [roomy(1024 - numbersBytes, 1024), roomy(1025 - numbersBytes, 1024), roomy(100_000, 1 << 20)], [true, false, true]);

  const inbox = new Inbox();
  equal('in order, once, no gap', [1, 2, 2, 1, 4, 3, 4].map((seq) => inbox.take(seq)), ['take', 'take', 'seen', 'seen', 'gap', 'take', 'take']);
  equal('what to acknowledge', [inbox.ack, inbox.unacknowledged], [4, 4]);
  inbox.acknowledged();
  equal('acknowledged', [inbox.ack, inbox.unacknowledged], [4, 0]);
}

function retries(): void {
  const delays = (urgent: boolean) => [0, 1, 4, 5, 100].map((failures) => retryDelay(failures, undefined, urgent, 0.5));
  equal('a quarter of a second, doubling to 5 s', delays(false), [250, 500, 4000, 5000, 5000]);
  equal('to 1 s while a call stands still', delays(true), [250, 500, 1000, 1000, 1000]);
  equal('not everybody at once', [0, 1].map((random) => retryDelay(5, undefined, false, random)), [3750, 6250]);
  equal('never sooner than asked, and then not everybody at once', [0, 0.5, 1].map((random) => retryDelay(0, 2, false, random)), [2000, 2500, 3000]);
  equal('not much later either', retryDelay(0, 60, true, 1), 65_000);
  equal('at once is at once', retryDelay(9, 0, false, 1), 0);
}

/** A session whose WebSockets are forbidden, and whose long-poll is answered by these, one after the other: what it asked. */
async function session(): Promise<void> {
  const welcome = (id: string) => [200, {ack: 0, frames: [{type: 'welcome', session: id, token: 't', limits: {messageSize: 65536}}]}] as const;
  const refused = (status: number, code: string) => [status, {error: {code, message: code, retryAfter: 0}}] as const;
  const answers = [welcome('one'), refused(429, 'too-many-attempts'), refused(403, 'session-unknown'), welcome('two'), refused(403, 'https-required')];
  const asked: string[] = [];
  const {WebSocket, fetch} = globalThis;
  globalThis.WebSocket = class {
    constructor() {
      throw new Error('forbidden');
    }
  } as never;
  globalThis.fetch = ((_: unknown, init: {body: string}) => {
    const body = JSON.parse(init.body) as {session?: string; attempt?: number; frames?: {type: string}[]};
    asked.push(body.frames?.[0]?.type ?? `${body.session} ${body.attempt}`);
    const answer = answers.shift();
    if (!answer) return new Promise(() => undefined);
    return Promise.resolve(new Response(JSON.stringify(answer[1]), {status: answer[0]}));
  }) as never;
  const states: string[] = [];
  const tested = new Session(new URL('https://call.example/api/signal'), () => ({room: 'kitchen', name: 'Ada', secret: 's'}));
  tested.on('state', (state) => states.push(state));
  const {code} = await tested.once('failed');
  Object.assign(globalThis, {WebSocket, fetch});
  equal('only session-unknown gives the seat up; carriers change where one is refused', asked.filter((a, i) => a !== asked[i - 1]),
    ['join', 'one 0', 'one 1', 'join', 'two 0']);
  equal('what would be refused again is not tried again', [code, states], ['https-required', ['connected', 'reconnecting', 'connected', 'closed']]);
}

async function emitter(): Promise<void> {
  class Source extends Emitter<{a: number; b: string}> {
    say(a: number): void {
      this.emit('a', a);
    }
  }
  const source = new Source();
  const got: number[] = [];
  source.say(1);
  source.say(2);
  const off = source.on('a', (a) => got.push(a));
  source.say(3);
  equal('events that waited do not come in the middle of on', got, []);
  await Promise.resolve();
  equal('but after it, in order', got, [1, 2, 3]);
  source.say(4);
  off();
  source.say(5);
  equal('until the handler is taken off', got, [1, 2, 3, 4]);
  const many = new Source();
  for (let i = 0; i < 100; i++) many.say(i);
  const kept: number[] = [];
  many.on('a', (a) => kept.push(a));
  await Promise.resolve();
  equal('64 wait, the newest', [kept.length, kept[0], kept.at(-1)], [64, 36, 99]);
}

function path(): void {
  const report = (...stats: {id: string}[]) => new Map(stats.map((s) => [s.id, s])) as unknown as RTCStatsReport;
  const none = () => ({received: 0, lost: 0});
  const pair = {id: 'p', type: 'candidate-pair', localCandidateId: 'l', remoteCandidateId: 'r', currentRoundTripTime: 0.0312};
  const transport = {id: 't', type: 'transport', selectedCandidatePairId: 'p'};
  const local = (candidateType: string, relayProtocol?: string) => ({id: 'l', type: 'local-candidate', candidateType, relayProtocol});
  const remote = (candidateType: string) => ({id: 'r', type: 'remote-candidate', candidateType});
  equal('direct', readStats(report(transport, pair, local('host'), remote('srflx')), none()).path, {kind: 'direct', description: 'direct', roundTrip: 31});
  equal('relayed', readStats(report(transport, pair, local('relay', 'tls'), remote('host')), none()).path?.description, 'relayed over tls');
  equal('relayed there', readStats(report(transport, pair, local('host'), remote('relay')), none()).path?.kind, 'relayed');
  equal('Firefox has no transport', readStats(report({...pair, selected: true} as never, local('host'), remote('host')), none()).path?.kind, 'direct');
  equal('nothing yet', readStats(report(transport), none()).path, undefined);

  const counters = none();
  const inbound = (packetsReceived: number, packetsLost: number) => ({id: 'i', type: 'inbound-rtp', packetsReceived, packetsLost});
  const seen = [[100, 0], [195, 5], [280, 20], [380, 20]].map(([r, l]) => readStats(report(inbound(r!, l!)), counters).quality);
  equal('quality follows the loss since the last look', seen, ['good', 'fair', 'poor', 'good']);
  equal('and what the other side misses', readStats(report({id: 'x', type: 'remote-inbound-rtp', fractionLost: 0.2} as never), none()).quality, 'poor');
}

function rooms(): void {
  const names = Array.from({length: 200}, mint);
  equal('minted names', names.filter((name) => !/^[a-z2-7]{4}(-[a-z2-7]{4}){3}$/.test(name)), []);
  equal('no two alike', new Set(names).size, names.length);
  for (const [typed, room] of [
    ['kitchen', 'kitchen'], [' Kitchen ', 'kitchen'], ['the kitchen', 'the-kitchen'], ['https://call.example/r/abcd-efgh?x#y', 'abcd-efgh'],
    ['call.example/r/kitchen/', 'kitchen'], ['', undefined], ['-x', undefined], ['küche', undefined], ['https://call.example/', undefined], ['a'.repeat(65), undefined],
  ] as const) equal(`room of ${typed}`, roomOf(typed), room);
  equal('a title for people', [title('the-kitchen'), title('abcd-efgh-2345-mnop')], ['The kitchen', 'Private call']);
}

function help(): void {
  for (const [link, from] of [
    ['http://localhost:8080/r/a', 'machine'], ['http://127.0.0.1/r/a', 'machine'], ['http://[::1]:8080/r/a', 'machine'],
    ['https://192.168.1.5:8443/r/a', 'network'], ['https://10.0.0.1/r/a', 'network'], ['https://172.31.0.1/r/a', 'network'],
    ['https://172.32.0.1/r/a', 'internet'], ['https://100.64.0.1/r/a', 'network'], ['https://100.128.0.1/r/a', 'internet'],
    ['https://[fd00::2]:8443/r/a', 'network'], ['https://[fe80::1]/r/a', 'network'], ['https://[2001:db8::1]/r/a', 'internet'],
    ['https://laptop.local:8443/r/a', 'network'], ['https://laptop:8443/r/a', 'network'], ['https://call.example/r/a', 'internet'], ['https://fdic.example/r/a', 'internet'],
  ] as const) equal(`reach of ${link}`, reach(link), from);
  for (const [agent, touch, which] of [
    ['Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 Safari/537.36', 0, 'chromium'],
    ['Mozilla/5.0 (X11; Linux x86_64; rv:147.0) Gecko/20100101 Firefox/147.0', 0, 'firefox'],
    ['Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15', 0, 'safari'],
    ['Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15', 5, 'ios'],
    ['Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/146.0 Mobile/15E148 Safari/604.1', 5, 'ios'],
    ['Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 Mobile Safari/537.36', 5, 'android'],
  ] as const) equal(`browser of ${agent}`, browser(agent, touch), which);
  for (const problem of ['denied', 'denied-by-system', 'missing', 'busy', 'insecure', 'other'] as const) {
    for (const kind of ['audio', 'video'] as const) equal(`${problem} ${kind} has steps`, deviceAdvice(kind, problem).steps.length > 0, true);
  }
}

function grid(): void {
  const shape = (n: number, width: number, height: number) => {
    const {columns, rows} = bestGrid(n, width, height, 12);
    return `${columns}x${rows}`;
  };
  equal('wide', [1, 2, 3, 4].map((n) => shape(n, 1250, 650)), ['1x1', '2x1', '2x2', '2x2']);
  equal('phone', [1, 2, 3, 4].map((n) => shape(n, 374, 700)), ['1x1', '1x2', '1x3', '1x4']);
}

sequence();
retries();
await session();
await emitter();
path();
rooms();
help();
grid();
document.title = failures.length === 0 ? `passed ${passed}` : 'failed';
const result = document.createElement('pre');
result.textContent = failures.join('\n');
document.body.replaceChildren(result);
