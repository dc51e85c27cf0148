// The room that a visitor has opened on the page: its number, its line and the snippet for it. Its name is in the page's
// address, so that it can be linked and opened in a second tab.
import { lineIn } from './line.js';

const { message, number } = globalThis.messages;
const EXAMPLE = '/blog/post-1';
// The shortest time between two announcements to a screen reader.
const ANNOUNCE_EVERY_MS = 5000;
// The codes of refusals that have to do with who the visitor is.
const ABOUT_SIGN_IN = ['token_missing', 'token_invalid', 'token_expired', 'room_forbidden'];

// The name of the messages about such a refusal: one that says what it is, and one with `-meaning` at its end. Nothing for
// any other code.
export function aboutSignIn(code) {
  return ABOUT_SIGN_IN.includes(code) ? code.replace('_', '-') : undefined;
}

// `site` is the page's connection. The snippet must have the page's own address by now.
export function showRooms(site) {
  const line = lineIn(byId('room-line'), byId('room-line-start'), byId('room-line-end'));
  const snippet = byId('snippet-room').textContent;
  let name = '';
  let room;
  let state;
  let refusal;
  let users;
  let announcedAt = 0;
  let announcement = 0;

  function follow() {
    const next = nameIn(location.hash);
    if (next === name) return;
    name = next;
    room?.leave();
    room = users = undefined;
    clearTimeout(announcement);
    line.restart();
    byId('room').hidden = !name;
    byId('room-input').value = name;
    byId('room-count').textContent = '–';
    byId('room-people').textContent = '';
    byId('room-announcement').textContent = '';
    if (!name) return;
    byId('room-name').textContent = name;
    byId('snippet-room').textContent = snippet.replaceAll(EXAMPLE, () => escaped(name));
    room = site.room(name).on('state', showState).on('user count', show);
  }

  function show(count) {
    users = count;
    byId('room-count').textContent = number(count);
    byId('room-people').textContent = message('room-people', { count });
    line.add(count);
    announce();
  }

  function showState(next, code) {
    state = next;
    refusal = code;
    byId('room').dataset.state = state;
    byId('room-state').textContent = stateInWords();
    if (state !== 'live') line.interrupt();
    if (state === 'refused') {
      users = undefined;
      byId('room-count').textContent = '–';
      byId('room-people').textContent = '';
    }
    announce();
  }

  function stateInWords() {
    if (state !== 'refused') return message(state);
    const about = aboutSignIn(refusal);
    return about ? message(`${about}-meaning`) : message('room-refused');
  }

  // Announces the newest state in one sentence, after a pause if the last announcement was just before.
  function announce() {
    clearTimeout(announcement);
    announcement = setTimeout(function () {
      announcedAt = Date.now();
      const told = stateInWords();
      byId('room-announcement').textContent =
        users === undefined ? told : message('room-announcement', { count: users, room: name, state: told });
    }, Math.max(250, announcedAt + ANNOUNCE_EVERY_MS - Date.now()));
  }

  byId('room-form').addEventListener('submit', function (event) {
    event.preventDefault();
    location.hash = `#${encoded(`/${byId('room-input').value.trim().replace(/^\//, '')}`)}`;
  });
  byId('room-leave').addEventListener('click', function () {
    history.pushState(null, '', location.pathname + location.search);
    follow();
    byId('room-input').focus();
  });
  addEventListener('hashchange', follow);
  addEventListener('popstate', follow);
  follow();
}

function byId(id) {
  return document.getElementById(id);
}

// The name of a room in an address, or nothing. The site is no room of its own.
function nameIn(hash) {
  if (!/^#\/./.test(hash)) return '';
  try {
    return decodeURI(hash.slice(1));
  } catch {
    return hash.slice(1);
  }
}

// A name as it is written in an address, so that `nameIn` gives this name again. Halves of characters are replaced, as they are
// wherever text leaves a script.
function encoded(name) {
  return encodeURI(name.replace(/\p{Cs}/gu, '\ufffd'));
}

// As it is written in an attribute.
function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
}
