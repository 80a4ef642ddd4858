import type {Room} from '../sdk/index.ts';
import {ParleyError} from '../sdk/index.ts';
import {announce, h, icon} from './dom.ts';

/** The oldest lines go when there are more. */
const maxLines = 500;
const maxLength = 4000; // characters of one message

/** The chat beside the call. */
export interface Chat {
  readonly element: HTMLElement;
  readonly open: boolean;
  toggle(open?: boolean): void;
  /** A line about what happened. */
  note(text: string): void;
}

export function chatPanel(room: Room, onUnread: (count: number) => void, onToggle: (open: boolean) => void): Chat {
  const lines = h('ol.chat-lines', {testid: 'chat-lines', tabIndex: 0, 'aria-label': 'Messages'});
  const empty = h('div.chat-empty', {}, icon('chat'), h('p', {}, 'Nothing said yet. What you write goes straight to those who are in the call, and is kept nowhere.'));
  const input = h('textarea', {
    testid: 'chat-input', rows: 1, maxLength, placeholder: 'Write to everyone', 'aria-label': 'Message to everyone',
    oninput: () => grow(),
    onkeydown: (event: KeyboardEvent) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit();
    },
  });
  const grow = () => {
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight, 140)}px`;
  };
  let unread = 0;
  let lastAuthor = '';

  const add = (line: HTMLElement) => {
    const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 60;
    empty.remove();
    lines.append(line);
    while (lines.childElementCount > maxLines) lines.firstElementChild?.remove();
    if (atEnd) lines.scrollTop = lines.scrollHeight;
  };
  const say = (id: string, author: string, text: string) => {
    const now = new Date();
    add(h('li.chat-line', {class: id === room.self.id ? 'mine' : '', testid: 'chat-message'},
      id !== lastAuthor && h('p.chat-author', {}, author, ' ', h('time', {dateTime: now.toISOString()}, now.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'}))),
      h('p.chat-text', {}, ...linked(text))));
    lastAuthor = id;
  };
  const note = (text: string) => {
    lastAuthor = '';
    if (!empty.isConnected) add(h('li.chat-note', {}, text));
  };
  const submit = () => {
    const text = input.value.trim();
    if (!text) return;
    try {
      room.chat(text);
    } catch (error) {
      note(error instanceof ParleyError ? error.message : 'That could not be sent.');
      return;
    }
    say(room.self.id, 'You', text);
    if (room.peers.size === 0) note('Nobody else is here yet: nobody has read this.');
    input.value = '';
    grow();
    lines.scrollTop = lines.scrollHeight;
  };
  room.on('chat', ({peer, text}) => {
    const name = peer.name || 'Guest';
    say(peer.id, name, text.slice(0, maxLength));
    if (!element.hidden) return;
    onUnread(++unread);
    announce(`${name} wrote: ${text.slice(0, 200)}`);
  });

  const element = h('aside.chat', {hidden: true, 'aria-label': 'Chat', testid: 'chat'},
    h('header', {}, h('h2', {}, 'Chat'), h('button.round.quiet', {type: 'button', title: 'Close chat', 'aria-label': 'Close chat', onclick: () => chat.toggle(false)}, icon('close'))),
    empty, lines,
    h('form.chat-form', {
      onsubmit: (event: Event) => {
        event.preventDefault();
        submit();
      },
    }, input, h('button.round.primary', {type: 'submit', title: 'Send', 'aria-label': 'Send', testid: 'chat-send'}, icon('send'))));

  const chat: Chat = {
    element,
    note,
    get open() {
      return !element.hidden;
    },
    toggle: (open = element.hidden === true) => {
      element.hidden = !open;
      if (open) {
        unread = 0;
        onUnread(0);
        lines.scrollTop = lines.scrollHeight;
        input.focus();
      }
      onToggle(open);
    },
  };
  return chat;
}

/** Text with its web addresses as links that tell the other site nothing. */
function linked(text: string): (Node | string)[] {
  return text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]}'])/).map((part, i) =>
    i % 2 === 1 ? h('a', {href: part, target: '_blank', rel: 'noopener noreferrer'}, part) : part);
}
