// The console's script: puts the texts of each new screen into the places that the page names for them. It makes no markup of
// any text, and knows none of the words.
(function () {
  'use strict';
  // A screen comes each second. After this long without one the page says that it is old.
  const OLD_AFTER_MS = 3000;
  // Where no websocket can be opened, screens are asked for.
  const ASK_EVERY_MS = 1000;
  const ASK_TIMEOUT_MS = 5000;
  // A page is not loaded again sooner: a proxy may ask instances of two versions in turn.
  const RELOAD_AFTER_MS = 5000;
  // The largest rooms are asked for at this pace, and as soon as somebody has typed what to look for.
  const ROOMS_EVERY_MS = 5000;
  const TYPING_MS = 300;

  let heardAt = Date.now();
  let version;
  let asking = false;
  let announced = '';

  const path = new URL('socket.io', location.href).pathname;
  const socket = io({ path, transports: ['websocket'] });
  socket.on('screen', show);

  function show(screen) {
    // After an upgrade the page is one of the version before.
    version ??= screen.version;
    if (screen.version !== version && performance.now() > RELOAD_AFTER_MS) {
      location.reload();
      return;
    }
    heardAt = Date.now();
    document.title = screen.title;
    fill(document, screen, (element) => element.closest('[data-key]') === null);
    for (const list of document.querySelectorAll('[data-list]')) fillList(list, screen[list.dataset.list] ?? []);
    showAge();
    announce(`${screen.count} ${screen.people}. ${screen.sure}. ${screen.verdict}.`, [screen.sure, screen.verdict]);
  }

  function fill(root, values, isMine) {
    for (const element of root.querySelectorAll('[data-text]')) {
      if (!isMine(element)) continue;
      const text = valueOf(values, element.dataset.text);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const element of root.querySelectorAll('[data-set]')) {
      if (isMine(element)) setAttributes(element, values);
    }
  }

  function setAttributes(element, values) {
    for (const pair of element.dataset.set.split(' ')) {
      const [attribute, name] = pair.split(':');
      const value = valueOf(values, name) ?? '';
      if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
    }
  }

  function valueOf(values, name) {
    return name.split('.').reduce((value, part) => value?.[part], values);
  }

  // Items keep their elements, by their keys, so that a selection or a focus survives.
  function fillList(list, items) {
    const old = new Map([...list.children].map((element) => [element.dataset.key, element]));
    items.forEach((item, position) => {
      const element = old.get(item.key) ?? document.getElementById(list.dataset.new).content.firstElementChild.cloneNode(true);
      old.delete(item.key);
      element.dataset.key = item.key;
      if (element.dataset.set) setAttributes(element, item);
      fill(element, item, () => true);
      if (list.children[position] !== element) list.insertBefore(element, list.children[position] ?? null);
    });
    for (const element of old.values()) element.remove();
  }

  // A screen reader hears of changes, not of each second.
  function announce(sentence, what) {
    const change = what.join();
    if (change === announced) return;
    announced = change;
    document.getElementById('announcement').textContent = sentence;
  }

  function showAge() {
    const age = Date.now() - heardAt;
    const isOld = age > OLD_AFTER_MS;
    document.body.toggleAttribute('data-old', isOld);
    const text = isOld ? `No news for ${Math.round(age / 1000)} s` : 'Live';
    const live = document.getElementById('live');
    if (live.textContent !== text) live.textContent = text;
  }

  // An answer as JSON; nothing if there is none. An instance that wants a token asks for it on its page: the operator has signed
  // out in another tab, or too long ago.
  async function read(address) {
    const answer = await fetch(address, { cache: 'no-store', signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    if (answer.status === 401) location.reload();
    return answer.ok ? answer.json() : undefined;
  }

  // Asks for what the socket does not bring.
  async function ask() {
    if (socket.connected || asking || document.hidden) return;
    asking = true;
    try {
      const screen = await read('console.json');
      if (screen) show(screen);
    } catch {
      // The page says how old it is.
    } finally {
      asking = false;
    }
  }

  // The list of rooms is of this page alone, since each operator may look for others.
  const form = document.getElementById('find');
  let typing;

  async function showRooms() {
    const { value } = form.elements.prefix;
    try {
      const query = new URLSearchParams({ prefix: value });
      const found = await read(`rooms.json?${query}`);
      // If somebody has typed on, the next answer is on its way.
      if (!found || form.elements.prefix.value !== value) return;
      fillList(document.getElementById('largest'), found.rooms);
      document.getElementById('rooms-note').textContent = found.note;
    } catch {
      // The note says how old the list was.
    }
  }

  form.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(showRooms, TYPING_MS);
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    clearTimeout(typing);
    const query = new URLSearchParams({ prefix: form.elements.prefix.value });
    history.replaceState(null, '', `?${query}`);
    showRooms();
  });
  setInterval(() => document.hidden || showRooms(), ROOMS_EVERY_MS);

  showAge();
  setInterval(showAge, 1000);
  setInterval(ask, ASK_EVERY_MS);
})();
