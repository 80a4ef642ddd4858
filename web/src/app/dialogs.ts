import {h, icon} from './dom.ts';
import {reach} from './help.ts';
import type {Reach} from './help.ts';
import type {Media} from './media.ts';
import {advices, devicePicker} from './picker.ts';

/** Opens a dialog in front of the page; it closes by its button, by Escape and by a click beside it. */
export function openDialog(title: string, testid: string, ...content: (Node | undefined)[]): HTMLDialogElement {
  document.querySelector('dialog')?.remove();
  const dialog = h('dialog', {testid, 'aria-label': title},
    h('header', {}, h('h2', {}, title),
      h('button.round.quiet', {type: 'button', title: 'Close', 'aria-label': 'Close', onclick: () => dialog.close()}, icon('close'))),
    ...content.filter((node) => node !== undefined));
  dialog.onclose = () => dialog.remove();
  dialog.onclick = (event) => event.target === dialog && dialog.close();
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

const reachNotes: Record<Reach, string> = {
  machine: 'This link works on this machine only. Start the server so that other devices reach it, and it names an address for them.',
  network: 'This link works for devices on the same network as the server: the same Wi‑Fi, for instance. The first time, a device may warn about the certificate; it can be told to trust this server.',
  internet: '',
};

/** The invitation: the link, a button that copies it, and from where it works. */
export function invitation(link: string): HTMLElement {
  const from = reach(link);
  const field = h('input', {type: 'text', readOnly: true, value: link, testid: 'invite-link', 'aria-label': 'Invitation link', onfocus: () => field.select()});
  const label = h('span', {}, 'Copy link');
  const copy = h('button.button.primary', {
    type: 'button', testid: 'copy-link',
    onclick: async () => {
      await copyText(link, field);
      label.textContent = 'Copied';
      copy.classList.add('done');
      setTimeout(() => {
        label.textContent = 'Copy link';
        copy.classList.remove('done');
      }, 2000);
    },
  }, icon('copy'), label);
  const share = 'share' in navigator && matchMedia('(pointer: coarse)').matches
    ? h('button.button', {type: 'button', testid: 'share-link', onclick: () => void navigator.share({title: 'Parley', url: link}).catch(() => undefined)}, icon('share'), 'Share')
    : undefined;
  return h('div.invitation', {'data-reach': from},
    h('div.row', {}, field, copy, share),
    reachNotes[from] !== '' && h('p.reach', {testid: 'reach'}, icon('info'), h('span', {}, reachNotes[from],
      from === 'network' && ' ', from === 'network' && h('a', {href: new URL('/trust', link).href, target: '_blank', rel: 'noopener'}, 'How?'))));
}

async function copyText(text: string, field: HTMLInputElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    field.select(); // older browsers, and pages that are not secure
    document.execCommand('copy');
  }
}

export function inviteDialog(link: string): void {
  openDialog('Invite', 'invite-dialog', h('p', {}, 'Whoever has this link can join. Send it to those you want to talk to, and to nobody else.'), invitation(link));
}

export function settingsDialog(media: Media, speakerChanged: () => void): void {
  const abort = new AbortController();
  const advice = h('div.advices', {role: 'status'});
  const draw = () => advice.replaceChildren(...advices(media));
  const off = media.on('change', draw);
  draw();
  const dialog = openDialog('Camera, microphone, loudspeaker', 'settings-dialog', devicePicker(media, abort.signal, speakerChanged), advice);
  dialog.addEventListener('close', () => {
    off();
    abort.abort();
  });
}

const shortcuts = [
  ['M', 'Microphone on or off'],
  ['V', 'Camera on or off'],
  ['C', 'Chat'],
  ['I', 'Invite'],
  ['S', 'Choose devices'],
  ['?', 'These shortcuts'],
  ['Esc', 'Close what is open'],
] as const;

export function shortcutsDialog(): void {
  openDialog('Keyboard', 'shortcuts-dialog',
    h('dl.shortcuts', {}, ...shortcuts.flatMap(([key, what]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)])));
}
