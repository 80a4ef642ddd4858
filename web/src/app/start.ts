import {h, mark, show} from './dom.ts';
import {mint, roomOf} from './rooms.ts';

/** The start page: a new room by one button, or one that there is. */
export function startPage(enter: (room: string) => void): void {
  const error = h('p.field-error', {id: 'room-error', role: 'alert'});
  const input = h('input', {
    id: 'room', testid: 'room-input', type: 'text', autocomplete: 'off', autocapitalize: 'none', spellcheck: false,
    placeholder: 'Link or room name', 'aria-describedby': 'room-error',
    oninput: () => {
      error.textContent = '';
      input.removeAttribute('aria-invalid');
    },
  });
  const form = h('form.join-form', {
    onsubmit: (event: Event) => {
      event.preventDefault();
      const room = roomOf(input.value);
      if (room) return enter(room);
      error.textContent = input.value.trim()
        ? 'A room’s name has letters, digits and hyphens only. Paste the whole link if you were sent one.'
        : 'Paste the link that you were sent, or type the room’s name.';
      input.setAttribute('aria-invalid', 'true');
      input.focus();
    },
  }, input, h('button.button', {type: 'submit', testid: 'join-room'}, 'Go'));

  show('Parley', h('main.start', {},
    h('header.brand', {}, mark(), h('span', {}, 'Parley')),
    h('section.hero', {},
      h('div.hero-art', {'aria-hidden': 'true'}, mark()),
      h('h1', {}, 'Talk it over,', h('br'), 'face to face.'),
      h('p.lead', {}, 'One button makes a room. Send its link, and whoever opens it is with you: no account, nothing to install.'),
      h('button.button.primary.large', {testid: 'new-room', onclick: () => enter(mint())}, 'Start a call'),
      h('div.or', {}, h('label', {htmlFor: 'room'}, 'or join one')),
      form, error),
    h('footer.foot', {}, 'Calls go straight from browser to browser. Nothing is recorded, nothing is measured, and no other company is involved.')));
  document.body.classList.remove('in-call');
}
