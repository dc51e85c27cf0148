// Headcount's embeddable client
//
// It shows the number of people online, live; docs/embed.md of the project says how to use it. It speaks Engine.IO 4 and
// Socket.IO 5 over a websocket, for one event. For anything more use socket.io-client. A room is a namespace, and the
// site is the room `/`. This file is one function: `home` is the address that the script was loaded from, and it returns
// `headcount`. Its variables are served with short names, see scripts.rs.
(function (home) {
  // A page may load the script several times, as script and as module. All copies from one folder are the first one. The
  // elements belong to the first copy of all, so that no two servers write into them.
  const copies = (globalThis[Symbol.for('headcount')] ||= {});
  const folder = `${home}`.replace(/[^/]*([?#].*)?$/, '');
  if (copies[folder]) return copies[folder];
  // The wait doubles after every failed attempt, up to the longest, and is shortened at random by up to half. So the
  // visitors of a server that stopped do not all return at the same moment.
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 30000;
  // How long the server's first packet may take. That packet says how long every later silence may be.
  const OPENING_MS = 20000;
  // The server ends a connection that joins and leaves rooms too often: more than 448 times at once, or 20 times a second.
  // The client keeps below it: after a burst it waits this long for each further change.
  const CHANGE_MS = 60;
  const BURST_MS = 400 * CHANGE_MS;
  const UPDATE_AGAIN_MS = 500;
  const NAME_BYTES_MAX = 128;
  const page = globalThis.document;
  // The page's connection. Its elements, `headcount.room` and the first `headcount()` use it.
  let main;
  let isTaken;
  // What each element of the page shows: which room and how, and the function that ends it.
  let shown = new Map();
  let isScanDue;

  // The name of a room as the server takes it. The page's own path is decoded, so that it is the text that people read
  // and write, and has no slash at its end; `%25` stays, so that no two paths get one name. Characters that no name may
  // contain are percent-encoded, and halves of characters replaced, as websockets do.
  function nameOf(text) {
    if (text == null) return '';
    if (text === '.') {
      text = location.pathname.replace(/\/+$/, '');
      try {
        text = decodeURI(text.replace(/%25/g, '%2525'));
      } catch {}
    }
    return `${text}`
      .replace(/^\/?/, '/')
      .replace(/\p{Cs}/gu, '\ufffd')
      .replace(/[\s\p{Cc},?#]/gu, encodeURIComponent);
  }

  // What a visitor sends to be counted. If the page asks for it, all tabs of the browser send the same random key, which
  // is kept in the storage of the page's origin. Where nothing can be stored, each tab is counted.
  function identity() {
    try {
      if (page.querySelector('script[data-tabs=one]')) {
        localStorage.headcountVisitor ||= crypto.getRandomValues(new Uint32Array(4)).join('-');
        return JSON.stringify({ visitor: localStorage.headcountVisitor });
      }
    } catch {}
    return '';
  }

  // A connection to one server. It carries all rooms that are wanted, and is open while there is one.
  function open(url) {
    // By name. `wishes` has a function for everything that shows the room, and whether it only watches.
    const rooms = new Map();
    // What the server was asked on the open socket, by name: whether to watch, and the answer once it is known, which is
    // `live` or the code of a refusal.
    let asked;
    // Until when the changes of rooms on this socket use up what the server allows, but for one burst.
    let spentUntil;
    let nextUpdate;
    let socket;
    let patienceMs;
    let deadline;
    let timer;
    let attempts = 0;
    // Why nothing may be opened: `reconnecting` while the page is in the back/forward cache, `closed` for good.
    let end;

    // Whether it is news. The state `refused` has the code of the refusal as its second value.
    function tell(name, event, ...values) {
      const room = rooms.get(name);
      if (!room || (event === 'state' && `${room.latest.state}` === `${values}`)) return;
      // Who is refused sees no number, and not the last one either.
      if (values[0] === 'refused') {
        room.latest = {};
        console.warn('headcount:', name, values[1]);
      }
      room.latest[event] = values;
      [...room.wishes.keys()].forEach((wish) => wish(event, ...values));
    }

    function tellAll(state) {
      rooms.forEach(({ latest }, name) => (end || latest.state[0] !== 'refused') && tell(name, 'state', state));
    }

    // Adds a wish and returns a function that takes it back. Both take effect with the next `update`. A room without a
    // name, or with one that is too long, is refused here: the server is not asked.
    function want(name, watch, wish) {
      const room = rooms.get(name) || { wishes: new Map(), latest: { state: [end || 'connecting'] } };
      rooms.set(name, room);
      if (!name || new TextEncoder().encode(name).length > NAME_BYTES_MAX) {
        tell(name, 'state', 'refused', 'room_not_allowed');
        rooms.delete(name);
      }
      room.wishes.set(wish, watch);
      for (const event in room.latest) wish(event, ...room.latest[event]);
      return () => room.wishes.delete(wish);
    }

    // Asks the server for what is wanted and not asked for. Leaves first, because the number of rooms is limited: nothing
    // is asked for while there is something to leave. A room is left only after it was entered: servers end connections
    // that leave a room they are not in. The place of each goes to a room that was refused for want of one.
    function update() {
      const now = Date.now();
      // Whether something cannot be asked for yet, or not left.
      let isWaiting;
      const say = (kind, name, text) => {
        spentUntil = Math.max(spentUntil, now - BURST_MS) + CHANGE_MS;
        socket.send(kind + (name === '/' ? '' : `${name},`) + text);
      };
      rooms.forEach((room, name) => {
        room.watch = [...room.wishes.values()].every(Boolean);
        if (!room.wishes.size) rooms.delete(name);
      });
      if (!asked) return timer || connect();
      asked.forEach(({ watch, answer }, name) => {
        if (rooms.get(name)?.watch === watch || (isWaiting ||= !answer || spentUntil > now)) return;
        asked.delete(name);
        if (answer !== 'live') return;
        say('41', name, '');
        for (const [other, entry] of asked) {
          if (entry.answer === 'too_many_rooms' && entry.watch === watch) return asked.delete(other);
        }
      });
      rooms.forEach(({ watch }, name) => {
        if (asked.has(name) || (isWaiting ||= spentUntil > now)) return;
        asked.set(name, { watch });
        say('40', name, watch ? '{"watch":true}' : identity());
      });
      clearTimeout(nextUpdate);
      if (isWaiting) nextUpdate = setTimeout(update, UPDATE_AGAIN_MS);
    }

    function wait(ms, then) {
      clearTimeout(timer);
      deadline = Date.now() + ms;
      timer = setTimeout(then, ms);
    }

    function receive(packet) {
      const [, kind, name = '/', text] = /^(\d+)(\/[^,]*)?,?(.*)/s.exec(packet);
      const value = text && JSON.parse(text);
      if (kind === '0') {
        patienceMs = value.pingInterval + value.pingTimeout;
        asked = new Map();
        spentUntil = -Infinity;
      }
      // Every packet proves that the connection lives. Pings come even if nothing else does.
      wait(patienceMs, lose);
      if (kind === '1' || kind === '41') {
        lose();
      } else if (kind === '2') {
        // If nothing is wanted any more, the page has had the time to go from one room to the next.
        if (rooms.size) socket.send('3');
        else drop();
      } else if (kind === '40') {
        asked.get(name).answer = 'live';
        tell(name, 'state', 'live');
      } else if (kind === '44') {
        asked.get(name).answer = value.data?.code || 'refused';
        tell(name, 'state', 'refused', value.data?.code);
        // If all are refused, there is nothing to stay for. The next connection asks again.
        if (asked && [...asked.values()].every(({ answer = 'live' }) => answer !== 'live')) lose();
      } else if (kind === '42' && value[0] === 'user count' && value[1] >= 0) {
        attempts = 0;
        tell(name, ...value);
      }
      update();
    }

    function connect() {
      drop();
      if (end || !rooms.size) return;
      wait((patienceMs = OPENING_MS), lose);
      try {
        socket = new WebSocket(url);
        socket.onclose = lose;
        socket.onmessage = ({ data }) => {
          try {
            receive(data);
          } catch {
            lose();
          }
        };
      } catch {
        lose();
      }
    }

    function drop() {
      clearTimeout(timer);
      if (socket) {
        socket.onclose = socket.onmessage = null;
        socket.close();
      }
      socket = asked = timer = undefined;
    }

    function lose() {
      drop();
      wait(Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempts++) * (1 - Math.random() / 2), connect);
      tellAll('reconnecting');
    }

    function stop(state) {
      end = state;
      drop();
      tellAll(state);
    }

    // Timers of hidden pages and sleeping machines are late. When the page is visible again it connects at once.
    function wake() {
      if (end || page?.hidden || (socket && Date.now() < deadline)) return;
      attempts = 0;
      connect();
    }

    const signals = {
      online: wake,
      visibilitychange: wake,
      pagehide: () => stop('reconnecting'),
      pageshow: () => {
        if (!end) return;
        end = '';
        wake();
      },
    };

    function close() {
      for (const name in signals) removeEventListener(name, signals[name]);
      stop('closed');
    }

    // What code holds of a room. Its own wish and those of its listeners end together.
    function room(name, options) {
      let wishes = [];
      const add = (wish) => wishes?.push(want(name, options?.watch, wish));
      const handle = {
        // A new listener is told the latest value at once, if there is one.
        on(event, listener) {
          add((told, ...values) => {
            try {
              if (told === event) listener(...values);
            } catch (error) {
              console.error(error);
            }
          });
          return handle;
        },
        room,
        leave() {
          wishes?.forEach((unwant) => unwant());
          wishes = null;
          update();
        },
        close,
      };
      name = nameOf(name);
      add(() => {});
      update();
      return handle;
    }

    try {
      // An address given by the page is a folder, with or without a slash at its end. A script's address is a file.
      const base = new URL(url ? `${url}`.replace(/\/?$/, '/') : home || '/', location);
      url = new URL('socket.io/?EIO=4&transport=websocket', base).href.replace('http', 'ws');
      for (const name in signals) addEventListener(name, signals[name]);
    } catch (error) {
      console.error(error);
      close();
    }
    return { want, update, room };
  }

  // The first call uses the connection of the page's elements, so that a page with elements and code counts once.
  function headcount(url, options) {
    if (isTaken || (main && url)) return open(url).room('/', options);
    isTaken = main ||= open(url);
    return main.room('/', options);
  }
  headcount.room = (name, options) => (main ||= open()).room(name, options);

  // Lets every element with the attribute show its room, which is the site unless the attribute names a room. The value
  // of an element that shows the site becomes its state. New rooms are added before old ones end: an element that
  // replaces another one of the same room keeps the place in it.
  function scan() {
    const former = shown;
    isScanDue = false;
    shown = new Map();
    for (const element of page.querySelectorAll('[data-headcount]')) {
      const { dataset } = element;
      const isSite = !/^(\/|\.$)/.test(dataset.headcount);
      const name = isSite ? '/' : nameOf(dataset.headcount);
      const watch = 'headcountWatch' in dataset;
      const key = watch + name;
      let seat = former.get(element);
      if (seat?.key === key) {
        former.delete(element);
      } else {
        clear(element);
        seat = (main ||= open()).want(name, watch, (event, value) => {
          if (event === 'state') dataset.headcountState = value;
          else element.textContent = value.toLocaleString();
          if (value === 'refused') element.textContent = '';
          if (isSite) dataset.headcount = dataset.headcountState;
        });
        seat.key = key;
      }
      shown.set(element, seat);
    }
    former.forEach((unwant, element) => {
      unwant();
      if (!shown.has(element)) clear(element);
    });
    main?.update();
  }

  // Takes away what the script has written into an element, or into the one that it is a copy of: it may show another
  // room next. A text that the page itself has put there stays until there is a number.
  function clear(element) {
    if (element.dataset.headcountState) element.textContent = '';
    delete element.dataset.headcountState;
  }

  // Not at once: a page that changes many elements is looked at once.
  function scanSoon() {
    isScanDue ||= setTimeout(scan);
  }

  function start() {
    scan();
    new MutationObserver(scanSoon).observe(page, {
      subtree: true,
      childList: true,
      attributeFilter: ['data-headcount', 'data-headcount-watch'],
    });
    // The page's own path may have changed.
    globalThis.navigation?.addEventListener('currententrychange', scanSoon);
  }

  // Elements that are parsed later are seen by the observer.
  if (page && !copies.page) {
    copies.page = page;
    setTimeout(start);
  }
  return (copies[folder] = headcount);
})
