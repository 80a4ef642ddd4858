import {ParleyError, isTrusted, join} from '../sdk/index.ts';
import type {Kind, Room} from '../sdk/index.ts';
import {announce, fill, h, icon, mark, memory, show} from './dom.ts';
import type {IconName} from './icons.ts';
import {permission} from './media.ts';
import type {Media} from './media.ts';
import {advices, devicePicker} from './picker.ts';
import {title} from './rooms.ts';
import {soundTaken} from './tabs.ts';

/** What the lobby leads to. */
export interface LobbyExit {
  joined: (room: Room) => void;
  home: () => void;
}

/** How long joining waits for devices that are being opened, in milliseconds. */
const openWithin = 5_000;

/** How long until a refused join is tried again by itself, in seconds, if the server does not say. */
const retryAfter = 5;

/**
 * The lobby: who am I, how do I look and sound, and in. It also waits for the host, and asks for the passphrase.
 * The function returned ends it, without the devices.
 */
export function lobbyPage(room: string, media: Media, exit: LobbyExit): () => void {
  const abort = new AbortController();
  const {signal} = abort;

  // The picture, and what to do where there is none.
  const video = h('video', {muted: true, autoplay: true, playsInline: true, testid: 'preview', 'aria-label': 'Your camera'});
  video.muted = true;
  const cover = h('div.preview-cover');
  const toggles = {audio: toggle('audio', media), video: toggle('video', media)};
  const preview = h('div.preview', {}, video, cover, h('div.preview-controls', {}, toggles.audio.button, toggles.video.button));
  const advice = h('div.advices', {role: 'status'});

  const ask = () =>
    fill(cover, h('div.ask', {testid: 'ask'},
      h('h2', {}, 'Be seen and heard'),
      h('p', {}, 'Your browser is about to ask for camera and microphone, so that the others can see and hear you. Nothing leaves this device before you join.'),
      h('div.row', {},
        h('button.button.primary', {type: 'button', testid: 'allow', onclick: () => void open('audio', 'video')}, 'Allow both'),
        h('button.button', {type: 'button', testid: 'allow-audio', onclick: () => void open('audio')}, 'Microphone only')),
      h('p.hint', {}, 'Or join without: you can switch them on later.')));
  const open = async (...kinds: Kind[]) => {
    fill(cover, h('p.cover-note', {}, 'Answer your browser’s question…'));
    await media.open(...kinds);
    draw();
  };
  /** Devices that open without a question are waited for: then the call begins with them. */
  let opening: Promise<void> = Promise.resolve();
  const draw = () => {
    const track = media.tracks.video;
    video.srcObject = track ? new MediaStream([track]) : null;
    video.hidden = track === null;
    if (track) fill(cover);
    else fill(cover, h('p.cover-note', {}, icon('cameraOff'), 'Your camera is off'));
    fill(advice, ...advices(media));
    preview.classList.toggle('dark', track === null);
    for (const kind of ['audio', 'video'] as const) toggles[kind].draw();
  };
  const off = media.on('change', draw);
  signal.addEventListener('abort', () => {
    off();
    video.srcObject = null;
  });

  // The way in.
  const name = h('input', {
    id: 'name', testid: 'name', type: 'text', maxLength: 64, autocomplete: 'name', value: memory.get('name'), placeholder: 'What the others see',
  });
  const relayOnly = h('input', {
    id: 'relay-only', testid: 'relay-only', type: 'checkbox', checked: memory.get('relay-only') === 'on', 'aria-describedby': 'relay-only-hint',
    onchange: () => memory.set('relay-only', relayOnly.checked ? 'on' : ''),
  });
  const state = h('div.join-state', {testid: 'join-state'});
  const form = h('form.lobby-form', {
    onsubmit: (event: Event) => {
      event.preventDefault();
      void enter();
    },
  },
    h('div.field', {}, h('label', {htmlFor: 'name'}, 'Your name'), name),
    state,
    h('div.choice', {}, relayOnly,
      h('label', {htmlFor: 'relay-only'}, 'Relay only, hide my address'),
      h('p.hint', {id: 'relay-only-hint'}, 'Sound and picture go through this server, a little slower, and the others do not see your network address.')),
    h('details.devices', {testid: 'devices', open: matchMedia('(min-width: 820px)').matches},
      h('summary', {}, icon('settings'), 'Camera, microphone, loudspeaker'),
      devicePicker(media, signal)));

  let passphrase: string | undefined;
  let attempt: AbortController | undefined;
  let lastCode: string | undefined;
  const enter = async (byItself = false) => {
    attempt?.abort();
    const mine = (attempt = new AbortController());
    memory.set('name', name.value.trim());
    if (!byItself) lastCode = undefined;
    if (!byItself) fill(state, h('button.button.primary.large.wide', {type: 'button', disabled: true, testid: 'joining'}, 'Joining…'));
    await opening;
    if (await soundTaken()) media.mute(true); // the call says why
    const stream = new MediaStream([media.tracks.audio, media.tracks.video].filter((track) => track !== null));
    try {
      const joined = await join(`/r/${room}`, {
        name: name.value.trim(),
        stream,
        presence: {audio: media.has('audio'), video: media.has('video')},
        relayOnly: relayOnly.checked,
        signal: mine.signal,
        ...(passphrase !== undefined && {passphrase}),
      });
      abort.abort();
      exit.joined(joined);
    } catch (error) {
      if (!mine.signal.aborted && !signal.aborted) refused(error);
    }
  };

  const ready = () => fill(state, h('button.button.primary.large.wide', {type: 'submit', testid: 'join'}, 'Join'));

  /** Says why not, and offers what there is to do. */
  const refused = (error: unknown) => {
    const refusal = error instanceof ParleyError ? error : new ParleyError('unreachable', String(error));
    const notice = (symbol: IconName, heading: string, text: string, ...more: (Node | undefined)[]) => {
      fill(state, h('section.notice', {role: refusal.code === lastCode ? undefined : 'alert', testid: 'refused', 'data-code': refusal.code},
        h('h2', {}, icon(symbol), heading), h('p', {}, text), ...more.filter((node) => node !== undefined)));
      lastCode = refusal.code;
      state.scrollIntoView({block: 'nearest'});
    };
    const askPassphrase = (text: string) => {
      const input = h('input', {id: 'passphrase', testid: 'passphrase', type: 'password', autocomplete: 'current-password', required: true});
      input.oninput = () => (passphrase = input.value);
      notice('key', 'The host’s passphrase', text,
        h('div.field', {}, h('label', {htmlFor: 'passphrase'}, 'Passphrase'), input),
        h('div.row', {}, again('Open the room'), cancel()));
      input.focus();
    };
    const again = (label = 'Try again') => h('button.button.primary', {type: 'submit', testid: 'try-again'}, label);
    switch (refusal.code) {
      case 'room-not-open':
        return notice('hourglass', 'Waiting for the host',
          'The room is not open yet. Stay here: this page knocks again by itself and lets you in as soon as somebody opens it.',
          countdown(refusal.retryAfter ?? retryAfter, signal, () => void enter(true)),
          h('div.row', {}, cancel(), h('button.button', {
            type: 'button', testid: 'host',
            onclick: () => askPassphrase('The server printed it when it was first started. With it, the room opens now.'),
          }, 'I am the host')));
      case 'passphrase-required':
        return askPassphrase('From the internet, a room like this one is opened with the passphrase that the server printed when it was first started.');
      case 'passphrase-wrong':
        return askPassphrase(refusal.message);
      case 'room-full':
        return notice('people', 'The room is full', `${refusal.message} When somebody has left, try again.`, h('div.row', {}, again(), cancel()));
      case 'unreachable':
        return notice('warn', 'Server out of reach', refusal.message,
          location.protocol === 'https:'
            ? h('p', {}, 'Did your browser warn about the certificate? ', h('a', {href: '/trust'}, 'Trust this server'), ' tells how to end that.')
            : undefined,
          countdown(10, signal, () => void enter(true)), h('div.row', {}, again('Try now'), cancel()));
      case 'draining':
      case 'too-many-attempts':
        return notice('hourglass', 'In a moment', refusal.message,
          countdown(refusal.retryAfter ?? retryAfter, signal, () => void enter(true)), cancel());
      default:
        return notice('warn', 'That did not work', refusal.message, h('div.row', {}, again(), cancel()));
    }
  };
  const cancel = () =>
    h('button.button', {
      type: 'button', testid: 'cancel',
      onclick: () => {
        attempt?.abort();
        passphrase = undefined;
        ready();
      },
    }, 'Cancel');

  show(`${title(room)} · Parley`, h('main.lobby', {testid: 'lobby'},
    h('header.brand', {}, h('a', {href: '/', onclick: (event: Event) => {
      event.preventDefault();
      exit.home();
    }, 'aria-label': 'Parley, start page'}, mark(), h('span', {}, 'Parley'))),
    h('section.lobby-picture', {'aria-label': 'How the others see you'},
      preview, advice),
    h('section.lobby-card', {},
      h('p.eyebrow', {}, 'You are about to join'),
      h('h1', {}, title(room)),
      form)));
  document.body.classList.remove('in-call');
  ready();
  draw();
  (name.value ? state.querySelector('button') : name)?.focus();

  void isTrusted(); // joining wants to know
  // Where the browser is not going to ask, there is nothing to explain.
  opening = (async () => {
    if (media.tracks.audio || media.tracks.video) return;
    const states = await Promise.all([permission('audio'), permission('video')]);
    const asks = isSecureContext && navigator.mediaDevices && states.includes('prompt');
    if (asks) ask();
    else await Promise.race([open('audio', 'video'), new Promise<void>((resolve) => setTimeout(resolve, openWithin))]);
  })();
  return () => {
    abort.abort();
    attempt?.abort();
  };
}

function toggle(kind: Kind, media: Media): {button: HTMLButtonElement; draw: () => void} {
  const device = kind === 'audio' ? 'microphone' : 'camera';
  const button = h('button.round', {
    type: 'button', 'aria-label': device.replace(/^./, (first) => first.toUpperCase()), testid: `toggle-${kind}`,
    onclick: () => {
      if (!media.tracks[kind]) void media.open(kind);
      else if (kind === 'video') media.close('video');
      else media.mute(media.has('audio'));
    },
  });
  const draw = () => {
    const on = media.has(kind);
    button.title = `Switch ${device} ${on ? 'off' : 'on'}`;
    button.setAttribute('aria-pressed', String(on));
    button.classList.toggle('off', !on);
    fill(button, icon(kind === 'audio' ? (on ? 'mic' : 'micOff') : on ? 'camera' : 'cameraOff'));
  };
  return {button, draw};
}

/** Counts down and then does it; ends with signal, or when the line is off the page. */
function countdown(seconds: number, signal: AbortSignal, then: () => void): HTMLElement {
  const line = h('p.countdown');
  let left = Math.ceil(seconds);
  const say = () => (line.textContent = left === 1 ? 'Next try in a second' : `Next try in ${left} seconds`);
  say();
  const timer = setInterval(() => {
    if (signal.aborted || !line.isConnected) return clearInterval(timer);
    if (--left > 0) return say();
    clearInterval(timer);
    then();
  }, 1000);
  announce(line.textContent ?? '');
  return line;
}
