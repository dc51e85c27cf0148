// Headcount's embeddable client: the number of people online, live. How to use it: docs/embed.md of the project.
//
// It speaks Engine.IO 4 and Socket.IO 5 over a websocket, for one event. For anything more use socket.io-client. This
// file is one function: `home` is the address that the script was loaded from, and it returns `headcount`.
(function (home) {
  'use strict';
  // The wait doubles after every failed attempt, up to the longest, and is shortened at random by up to half. So the
  // visitors of a server that stopped do not all return at the same moment.
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 30000;
  // How long the server's first packet may take. That packet says how long every later silence may be.
  const OPENING_MS = 20000;
  const page = globalThis.document;
  let isUsed = false;

  function headcount(url) {
    // Elements show the number of the page's first connection, so that a page with elements and code counts once.
    const fillsPage = page && !isUsed;
    const listeners = { __proto__: null };
    const latest = { __proto__: null };
    let endpoint;
    let socket;
    let patienceMs;
    let deadline;
    let timer;
    let attempts = 0;
    // Closed: for good. Away: while the page is in the back/forward cache.
    let isClosed = false;
    let isAway = false;
    isUsed = true;

    function call(listener, value) {
      try {
        listener(value);
      } catch (error) {
        console.error(error);
      }
    }

    function tell(event, value) {
      if (event === 'state' && latest.state === value) return;
      latest[event] = value;
      if (fillsPage) {
        for (const element of page.querySelectorAll('[data-headcount]')) {
          if (event === 'state') element.dataset.headcount = value;
          else element.textContent = value.toLocaleString();
        }
      }
      (listeners[event] || []).forEach((listener) => call(listener, value));
    }

    function wait(ms, then) {
      clearTimeout(timer);
      // A listener may have closed the connection before this call.
      if (isClosed || isAway) return;
      deadline = Date.now() + ms;
      timer = setTimeout(then, ms);
    }

    function receive(packet) {
      const opening = packet[0] === '0' && JSON.parse(packet.slice(1));
      if (opening) patienceMs = opening.pingInterval + opening.pingTimeout;
      // Every packet proves that the connection lives. Pings come even if nothing else does.
      wait(patienceMs, lose);
      if (opening) {
        socket.send('40');
      } else if (packet === '2') {
        socket.send('3');
      } else if (/^(1|41|44)/.test(packet)) {
        lose();
      } else if (packet.startsWith('40')) {
        tell('state', 'live');
      } else if (packet.startsWith('42')) {
        const [event, users] = JSON.parse(packet.slice(2));
        if (event === 'user count' && Number.isFinite(users)) {
          attempts = 0;
          tell(event, users);
        }
      }
    }

    function connect() {
      drop();
      wait((patienceMs = OPENING_MS), lose);
      try {
        const mine = (socket = new WebSocket(endpoint));
        mine.onmessage = ({ data }) => {
          if (socket === mine) {
            try {
              receive(data);
            } catch {
              lose();
            }
          }
        };
        mine.onclose = () => socket === mine && lose();
      } catch {
        lose();
      }
    }

    function drop() {
      clearTimeout(timer);
      const former = socket;
      socket = null;
      if (former) former.close();
    }

    function lose() {
      drop();
      tell('state', 'reconnecting');
      const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempts++);
      wait(most * (1 - Math.random() / 2), connect);
    }

    // Timers of hidden pages and sleeping machines are late. When the page is visible again it connects at once.
    function wake() {
      if (isClosed || isAway || page?.hidden || (socket && Date.now() < deadline)) return;
      attempts = 0;
      connect();
    }

    function leave() {
      isAway = true;
      drop();
      tell('state', 'reconnecting');
    }

    function comeBack() {
      if (!isAway) return;
      isAway = false;
      wake();
    }

    const signals = [
      [globalThis, 'online', wake],
      [page, 'visibilitychange', wake],
      [globalThis, 'pagehide', leave],
      [globalThis, 'pageshow', comeBack],
    ];

    const handle = {
      // A new listener is told the latest value at once, if there is one.
      on(event, listener) {
        (listeners[event] ||= []).push(listener);
        if (event in latest) call(listener, latest[event]);
        return handle;
      },
      close() {
        isClosed = true;
        drop();
        signals.forEach(([target, name, react]) => target?.removeEventListener(name, react));
        tell('state', 'closed');
      },
    };

    try {
      endpoint = new URL(url || home || '/', globalThis.location);
      // An address given by the page is a folder, with or without a slash at its end. A script's address is a file.
      if (url) endpoint.pathname = endpoint.pathname.replace(/\/?$/, '/');
      endpoint = new URL('socket.io/?EIO=4&transport=websocket', endpoint);
      endpoint.protocol = endpoint.protocol.replace('http', 'ws');
      signals.forEach(([target, name, react]) => target?.addEventListener(name, react));
      tell('state', 'connecting');
      connect();
    } catch (error) {
      console.error(error);
      handle.close();
    }
    return handle;
  }

  // Connects for the page's elements, unless the page's own code has connected already.
  function fill() {
    if (!isUsed && page.querySelector('[data-headcount]')) headcount();
  }

  if (page?.readyState === 'loading') page.addEventListener('DOMContentLoaded', fill);
  else if (page) setTimeout(fill);
  return headcount;
})
