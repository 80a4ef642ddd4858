const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';

/** A room's name that cannot be guessed: 80 random bits, as docs/signaling.md has it. */
export function mint(): string {
  const letters = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => alphabet[byte % 32]).join('');
  return letters.match(/.{4}/g)!.join('-');
}

/** The room that was meant by what was typed or pasted: a link, or a name. Undefined if it cannot be one. */
export function roomOf(input: string): string | undefined {
  const text = input.trim();
  const named = /\/r\/([^/?#]+)/.exec(text)?.[1] ?? text;
  const room = named.toLowerCase().replace(/[\s_]+/g, '-');
  return /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/.test(room) ? room : undefined;
}

/** A minted name is for the link; one that somebody chose is for people, too. */
export function title(room: string): string {
  if (/^[a-z2-7]{4}(-[a-z2-7]{4}){3}$/.test(room)) return 'Private call';
  return room.replaceAll('-', ' ').replace(/^./, (first) => first.toUpperCase());
}
