import {callPage, leftPage} from './call.ts';
import {lobbyPage} from './lobby.ts';
import {Media} from './media.ts';
import {roomOf} from './rooms.ts';
import {startPage} from './start.ts';

function go(path: string): void {
  history.pushState(null, '', path);
  route();
}

const home = () => go('/');

/** Ends the page that is shown. */
let close = () => {};

/** Shows what the address says: the start page, or the lobby of a room. */
function route(): void {
  close();
  close = () => {};
  if (!location.pathname.startsWith('/r/')) return startPage((room) => go(`/r/${room}`));
  const room = roomOf(decodeURI(location.pathname));
  if (!room) return home();
  if (location.pathname !== `/r/${room}`) history.replaceState(null, '', `/r/${room}`);
  lobby(room, new Media());
}

function lobby(room: string, media: Media): void {
  const endLobby = lobbyPage(room, media, {
    home,
    joined: (joined) => void callPage(joined, media, () => {
      media.closeAll();
      if (location.pathname === `/r/${room}`) leftPage(() => lobby(room, new Media()), home);
      else route();
    }),
  });
  close = () => {
    endLobby();
    media.closeAll();
  };
}

addEventListener('popstate', () => {
  if (!document.body.classList.contains('in-call')) route(); // a call sees to it itself
});
addEventListener('pageshow', (event) => event.persisted && location.reload()); // the call it shows is over
route();
