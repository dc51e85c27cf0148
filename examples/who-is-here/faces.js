/* global io */
// Draws who is in a room: a picture if the token's claim `info` has one ({"name":"Ada","picture":"https://…"}), else initials.
const { server, room, token } = document.currentScript.dataset;
const faces = document.getElementById('faces');
const note = document.getElementById('note');
const here = new Map();

// A function, so that every connection has a fresh token: the server ends a connection when its token expires.
const socket = io(server + room, { auth: async (tell) => tell({ token: await freshToken(), list: true }) });

async function freshToken() {
  for (;;) {
    try {
      const answer = await fetch(token, { cache: 'no-store' });
      if (answer.ok) return await answer.text();
      note.textContent = `no token: ${answer.status}`;
    } catch {
      note.textContent = 'no token: the site does not answer';
    }
    await new Promise((resume) => setTimeout(resume, 2000));
  }
}

socket.on('users', ({ users, joined, left, more }) => {
  if (users) here.clear();
  for (const user of users ?? joined) here.set(user.id, user);
  for (const id of left ?? []) here.delete(id);
  faces.replaceChildren(...[...here.values()].map(face));
  note.textContent = more > 0 ? `and ${more} more` : '';
});

socket.on('connect_error', (error) => {
  if (error.data) note.textContent = `${error.message} (${error.data.code})`;
});

function face({ id, info }) {
  const name = typeof info?.name === 'string' ? info.name : id;
  const item = document.createElement('li');
  item.title = name;
  // What a token says is text of somebody else's: it is never made markup, and only https pictures are loaded.
  if (typeof info?.picture === 'string' && info.picture.startsWith('https://')) {
    const picture = document.createElement('img');
    [picture.src, picture.alt] = [info.picture, name];
    item.append(picture);
  } else {
    item.textContent = initials(name);
    item.setAttribute('aria-label', name);
  }
  return item;
}

function initials(name) {
  const words = name.trim().split(/\s+/u);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0] ?? '?').join('').toUpperCase();
}
