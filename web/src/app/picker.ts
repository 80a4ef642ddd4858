import {fill, h, icon} from './dom.ts';
import {deviceAdvice} from './help.ts';
import {devices, meter, speaker, testSpeaker} from './media.ts';
import type {DeviceKind, Media} from './media.ts';

const labels = {audio: 'Microphone', video: 'Camera', speaker: 'Loudspeaker'} as const;
const none = {audio: 'No microphone', video: 'No camera', speaker: 'The system’s'} as const;

/**
 * The choice of camera, microphone (with its level) and loudspeaker (with a test), for lobby and call.
 * It lives until signal is aborted.
 */
export function devicePicker(media: Media, signal: AbortSignal, speakerChanged: () => void = () => undefined): HTMLElement {
  const selects = {} as Record<DeviceKind, HTMLSelectElement>;
  const field = (kind: DeviceKind, ...more: Node[]): HTMLElement => {
    const select = (selects[kind] = h('select', {
      id: `device-${kind}`, testid: `device-${kind}`,
      onchange: () => {
        if (kind !== 'speaker') return void media.choose(kind, select.value);
        speaker.id = select.value;
        speakerChanged();
      },
    }));
    return h('div.field', {}, h('label', {htmlFor: select.id}, labels[kind]), select, ...more);
  };

  const bar = h('div.level-bar');
  const level = h('div.level', {role: 'meter', 'aria-label': 'Microphone level', 'aria-valuemin': '0', 'aria-valuemax': '100', testid: 'mic-level'}, bar);
  const test = h('button.button.small', {
    type: 'button', testid: 'test-speaker',
    onclick: async () => {
      test.disabled = true;
      await testSpeaker().catch(() => undefined);
      test.disabled = false;
    },
  }, icon('speaker'), 'Play a sound');

  const list = async (kind: DeviceKind): Promise<void> => {
    const select = selects[kind];
    const found = await devices(kind);
    const current = kind === 'speaker' ? speaker.id : (media.tracks[kind]?.getSettings().deviceId ?? '');
    fill(select, ...found.map((device) => h('option', {value: device.deviceId, selected: device.deviceId === current}, device.label)));
    if (found.length === 0) select.append(h('option', {value: ''}, none[kind]));
    select.disabled = found.length === 0 || (kind === 'speaker' && !speaker.selectable);
  };
  const listAll = () => void Promise.all([list('audio'), list('video'), list('speaker')]);

  let stop: (() => void) | undefined;
  const measure = () => {
    stop?.();
    stop = undefined;
    const track = media.tracks.audio;
    if (!track || signal.aborted) return setLevel(0);
    const m = meter(track);
    const timer = setInterval(() => setLevel(media.has('audio') ? m.level() : 0), 80);
    stop = () => {
      clearInterval(timer);
      m.stop();
    };
  };
  const setLevel = (value: number) => {
    bar.style.setProperty('--level', value.toFixed(2));
    level.setAttribute('aria-valuenow', String(Math.round(value * 100)));
  };

  const offs = [media.on('devices', listAll), media.on('change', (kind) => kind === 'audio' && measure())];
  signal.addEventListener('abort', () => {
    for (const off of offs) off();
    stop?.();
  });
  const picker = h('div.picker', {}, field('video'), field('audio', level), field('speaker', test));
  listAll();
  measure();
  return picker;
}

/** What to do about devices that are not there, each with a button to try again; the first is spelled out. */
export function advices(media: Media): HTMLElement[] {
  const panels: HTMLElement[] = [];
  for (const kind of ['video', 'audio'] as const) {
    const problem = media.problems[kind];
    if (!problem) continue;
    const advice = deviceAdvice(kind, problem);
    panels.push(h('details.advice', {open: panels.length === 0, testid: `advice-${kind}`, 'data-problem': problem},
      h('summary', {}, icon('warn'), advice.title),
      h('p', {}, advice.text),
      h('ol', {}, ...advice.steps.map((step) => h('li', {}, step))),
      advice.link && h('p', {}, h('a', {href: advice.link.href}, advice.link.text)),
      problem !== 'insecure' && h('button.button.small', {type: 'button', testid: `retry-${kind}`, onclick: () => void media.open(kind)}, 'Try again')));
  }
  return panels;
}
