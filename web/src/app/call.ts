import type {Kind, Peer, Room} from '../sdk/index.ts';
import {announce, h, icon, mark, show} from './dom.ts';
import type {IconName} from './icons.ts';
import {chatPanel} from './chat.ts';
import {invitation, inviteDialog, settingsDialog, shortcutsDialog} from './dialogs.ts';
import type {Media} from './media.ts';
import {title} from './rooms.ts';
import {takeSound} from './tabs.ts';
import {bestGrid, peerTile, selfTile} from './tile.ts';
import type {PeerTile} from './tile.ts';

/** A server that is gone for less than this is not worth a word. */
const patience = 1_500;

/** The call. `sound` is whether this tab may be heard and hear: see takeSound. */
export async function callPage(room: Room, media: Media, left: () => void): Promise<void> {
  const abort = new AbortController();
  const {signal} = abort;
  let sound = await takeSound(signal, () => !sound && drawSecondTab(true));
  if (!sound) media.mute(true);

  // Tiles.
  const stage = h('div.stage', {testid: 'stage'});
  const self = selfTile(media, room.self.id, room.self.name);
  const tiles = new Map<string, PeerTile>();
  const alone = h('section.alone', {testid: 'alone'},
    h('h2', {}, 'Nobody else is here yet'),
    h('p', {}, 'Send the link to those you want to talk to.'),
    invitation(room.link));
  const arrange = () => {
    const others = [...tiles.values()].map((tile) => tile.element);
    stage.dataset['others'] = String(others.length);
    const wanted = others.length === 0 ? [self.element, alone] : [...others, self.element];
    if (wanted.some((element, i) => stage.children[i] !== element) || stage.childElementCount !== wanted.length) stage.replaceChildren(...wanted);
    layout();
    for (const tile of tiles.values()) tile.play(); // an element that was moved has stopped
  };
  const layout = () => {
    const n = tiles.size === 1 ? 1 : tiles.size + 1; // two talk face to face: oneself is in the corner
    const {columns, rows} = bestGrid(n, stage.clientWidth, stage.clientHeight, 12);
    stage.style.setProperty('--columns', String(columns));
    stage.style.setProperty('--rows', String(rows));
    stage.dataset['last'] = n % columns === 1 && columns > 1 ? 'lonely' : '';
  };
  const resize = new ResizeObserver(layout);
  resize.observe(stage);

  const hear = h('button.button.primary.hear', {
    type: 'button', testid: 'hear', hidden: true,
    onclick: () => {
      hear.hidden = true;
      for (const tile of tiles.values()) tile.play();
    },
  }, icon('speaker'), 'Tap to hear the others');
  const add = (peer: Peer) => {
    const tile = peerTile(peer, {
      get sound() {
        return sound;
      },
      blocked: () => (hear.hidden = false),
    });
    tiles.set(peer.id, tile);
    arrange();
    const name = peer.name || 'A guest';
    announce(`${name} joined`);
    chat.note(`${name} joined`);
  };
  const remove = (peer: Peer) => {
    tiles.get(peer.id)?.remove();
    tiles.delete(peer.id);
    arrange();
    const name = peer.name || 'A guest';
    announce(`${name} left`);
    chat.note(`${name} left`);
  };

  // What is above the call: news that matter.
  const banners = h('div.banners', {role: 'status'});
  const banner = (id: string, content?: {symbol: IconName; text: string; button?: HTMLElement | undefined}) => {
    banners.querySelector(`[data-testid="banner-${id}"]`)?.remove();
    if (content) banners.append(h('div.banner', {testid: `banner-${id}`}, icon(content.symbol), h('p', {}, content.text), content.button));
  };
  const drawSecondTab = (free: boolean) => {
    banner('second-tab', sound ? undefined : {
      symbol: 'speakerOff',
      text: free
        ? 'The other tab has left its call. Microphone and sound are still off here.'
        : 'Another tab of this browser is in a call already. Microphone and sound are off here, because two side by side would howl.',
      button: h('button.button.small', {
        type: 'button', testid: 'sound-here',
        onclick: () => {
          sound = true;
          media.mute(false);
          for (const tile of tiles.values()) tile.play();
          drawSecondTab(false);
        },
      }, free ? 'Switch both on' : 'Switch both on anyway'),
    });
  };
  const status = h('p.status', {testid: 'status'});
  let lostTimer: number | undefined;
  const drawServer = () => {
    clearTimeout(lostTimer);
    const {state} = room.connection;
    status.dataset['state'] = state;
    status.textContent = {connecting: 'Connecting', connected: '', reconnecting: 'Server lost', closed: 'Server lost'}[state];
    if (state === 'connected') {
      banner('draining');
      banner('server');
    }
    if (state !== 'reconnecting') return;
    lostTimer = setTimeout(() => banner('server', {
      symbol: 'warn',
      text: 'The server is out of reach. Your call goes on; nobody can join until it is back.',
      button: h('button.button.small', {type: 'button', testid: 'reconnect', onclick: () => room.connection.retry()}, 'Try now'),
    }), patience);
  };

  // What is below it: what one can do.
  const buttons = {} as Record<'audio' | 'video' | 'chat' | 'invite' | 'settings', HTMLButtonElement>;
  const control = (id: keyof typeof buttons, symbol: IconName, label: string, key: string, onclick: () => void, word = label): HTMLButtonElement =>
    (buttons[id] = h('button.control', {type: 'button', testid: id, 'aria-label': word, 'aria-keyshortcuts': key, title: `${label} (${key})`, onclick}, icon(symbol), h('span', {}, word)));
  const drawDevices = () => {
    for (const [kind, device, key] of [['audio', 'microphone', 'M'], ['video', 'camera', 'V']] as const) {
      const on = media.has(kind);
      const button = buttons[kind];
      button.classList.toggle('off', !on);
      button.setAttribute('aria-pressed', String(on));
      button.dataset['on'] = String(on);
      button.title = `Switch ${device} ${on ? 'off' : 'on'} (${key})`;
      const symbols = {audio: ['micOff', 'mic'], video: ['cameraOff', 'camera']} as const;
      button.querySelector('svg')?.replaceWith(icon(symbols[kind][on ? 1 : 0]));
    }
  };
  const switchDevice = async (kind: Kind) => {
    const device = kind === 'audio' ? 'Microphone' : 'Camera';
    if (!media.tracks[kind]) {
      if (kind === 'audio') media.mute(false);
      await media.open(kind);
      if (media.problems[kind]) return settingsDialog(media, route);
    } else if (kind === 'video') {
      media.close('video');
    } else {
      media.mute(media.has('audio'));
    }
    announce(`${device} ${media.has(kind) ? 'on' : 'off'}`);
  };
  const route = () => {
    for (const tile of tiles.values()) tile.route();
  };
  const badge = h('b.badge', {testid: 'unread', hidden: true, 'aria-hidden': 'true'});
  const chat = chatPanel(room,
    (unread) => {
      badge.hidden = unread === 0;
      badge.textContent = unread > 9 ? '9+' : String(unread);
      buttons.chat.setAttribute('aria-label', unread === 0 ? 'Chat' : `Chat, ${unread} unread`);
    },
    (open) => {
      buttons.chat.setAttribute('aria-expanded', String(open));
      page.classList.toggle('with-chat', open);
      if (!open) buttons.chat.focus();
    });
  const leave = () => {
    if (signal.aborted) return;
    room.leave();
    abort.abort();
    left();
  };

  const page = h('main.call', {testid: 'call'},
    h('header.call-head', {},
      h('div.call-title', {}, mark(), h('h1', {}, title(room.name)), status),
      h('div.row', {},
        h('button.round.quiet.wide-only', {type: 'button', testid: 'shortcuts', title: 'Keyboard (?)', 'aria-label': 'Keyboard shortcuts', onclick: shortcutsDialog}, icon('keyboard')),
        control('invite', 'invite', 'Invite', 'I', () => inviteDialog(room.link)))),
    banners,
    h('div.call-body', {}, h('div.stage-wrap', {}, stage, hear), chat.element),
    h('footer.controls', {role: 'group', 'aria-label': 'Call'},
      control('audio', 'mic', 'Microphone', 'M', () => void switchDevice('audio'), 'Mic'),
      control('video', 'camera', 'Camera', 'V', () => void switchDevice('video')),
      control('chat', 'chat', 'Chat', 'C', () => chat.toggle()),
      control('settings', 'settings', 'Devices', 'S', () => settingsDialog(media, route)),
      h('button.control.leave', {type: 'button', testid: 'leave', 'aria-label': 'Leave the call', title: 'Leave the call', onclick: leave}, icon('leave'), h('span', {}, 'Leave'))));
  buttons.chat.append(badge);
  buttons.chat.setAttribute('aria-expanded', 'false');

  // The room's news.
  room.on('peer', add);
  room.on('left', ({peer}) => remove(peer));
  room.connection.on('state', drawServer);
  room.on('draining', () => banner('draining', {symbol: 'info', text: 'The server is being stopped. Your call goes on; new guests have to wait until it is back.'}));
  room.on('refused', (error) => banner('server', {
    symbol: 'warn',
    text: `${error.message} Your call goes on with those who are here.`,
    button: error.code === 'session-replaced' ? undefined : h('button.button.small', {type: 'button', testid: 'rejoin', onclick: () => location.reload()}, 'Join again'),
  }));
  const known = {...media.problems};
  const publish = (kind: Kind) => {
    const device = kind === 'audio' ? 'microphone' : 'camera';
    const stopped = media.problems[kind] !== undefined && media.problems[kind] !== known[kind];
    banner(kind, stopped ? {
      symbol: 'warn',
      text: `Your ${device} stopped.`,
      button: h('button.button.small', {type: 'button', onclick: () => settingsDialog(media, route)}, 'What to do'),
    } : undefined);
    void room.replaceTrack(kind, media.tracks[kind]);
    if (room.self.presence[kind] !== media.has(kind)) room.setPresence({[kind]: media.has(kind)});
    drawDevices();
  };
  const off = media.on('change', publish);

  // Keys, clocks and the way out.
  const keys: Record<string, () => void> = {
    m: () => void switchDevice('audio'),
    v: () => void switchDevice('video'),
    c: () => chat.toggle(),
    i: () => inviteDialog(room.link),
    s: () => settingsDialog(media, route),
    '?': shortcutsDialog,
  };
  addEventListener('keydown', (event) => {
    const typing = event.target instanceof Element && event.target.closest('input, textarea, select, dialog');
    if (event.key === 'Escape' && chat.open && !document.querySelector('dialog')) return chat.toggle(false);
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const action = keys[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }, {signal});
  addEventListener('popstate', leave, {signal});
  const ticker = setInterval(() => {
    const now = performance.now();
    self.tick(now);
    for (const tile of tiles.values()) tile.tick(now);
  }, 100);
  const awake = keepAwake(signal);
  signal.addEventListener('abort', () => {
    for (const tile of [self, ...tiles.values()]) tile.remove();
    document.querySelector('dialog')?.remove();
    clearInterval(ticker);
    clearTimeout(lostTimer);
    resize.disconnect();
    awake();
    off();
  });

  document.body.classList.add('in-call');
  show(`${title(room.name)} · Parley`, page);
  publish('audio'); // what came while joining
  publish('video');
  drawServer();
  drawSecondTab(false);
  arrange();
  buttons.audio.focus({preventScroll: true});
  announce('You are in the call');
}

/** Keeps the screen from going dark, where the browser can. */
function keepAwake(signal: AbortSignal): () => void {
  let lock: WakeLockSentinel | undefined;
  const take = async () => {
    if (document.visibilityState !== 'visible' || !('wakeLock' in navigator)) return;
    lock = await navigator.wakeLock.request('screen').catch(() => undefined);
    if (signal.aborted) void lock?.release();
  };
  document.addEventListener('visibilitychange', () => void take(), {signal});
  void take();
  return () => void lock?.release();
}

/** After the call: back, or on. */
export function leftPage(rejoin: () => void, home: () => void): void {
  document.body.classList.remove('in-call');
  const again = h('button.button.primary.large', {type: 'button', testid: 'rejoin', onclick: rejoin}, 'Join again');
  show('You left · Parley', h('main.after', {},
    mark(),
    h('h1', {}, 'You left the call'),
    h('p.lead', {}, 'The others can go on without you. The room is there for as long as somebody is in it.'),
    h('div.row', {}, again, h('button.button.large', {type: 'button', testid: 'home', onclick: home}, 'Start page'))));
  again.focus();
}
