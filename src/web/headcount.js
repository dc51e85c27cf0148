// A small client for one thing: the live count. Speaks Engine.IO 4 and Socket.IO 5 over a websocket, and
// reconnects by itself. For anything more, use socket.io-client, which works against this server unchanged.
(function (global) {
  'use strict';
  // Waits between attempts: doubling from the first to the longest, and anywhere in the upper half of it, so
  // that the visitors of a restarted server do not all come back at one moment.
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 30000;

  function headcount(url) {
    const address = new URL(url || global.location.href, global.location.href);
    const scheme = address.protocol === 'https:' || address.protocol === 'wss:' ? 'wss:' : 'ws:';
    const endpoint = scheme + '//' + address.host + '/socket.io/?EIO=4&transport=websocket';
    const listeners = { 'user count': [], state: [] };
    let connection = null;
    let silence = 0;
    let patienceMs = 0;
    let retry = 0;
    let attempts = 0;
    let closed = false;

    function tell(event, value) {
      listeners[event].forEach(function (listener) {
        try {
          listener(value);
        } catch (error) {
          console.error(error);
        }
      });
    }

    // The server pings; when its pings stay away, the connection is dead even if nobody says so.
    function expectAnotherPing() {
      clearTimeout(silence);
      silence = setTimeout(lost, patienceMs);
    }

    function receive(packet) {
      if (packet[0] === '0') {
        const open = JSON.parse(packet.slice(1));
        patienceMs = open.pingInterval + open.pingTimeout;
        expectAnotherPing();
        connection.send('40');
      } else if (packet === '2') {
        expectAnotherPing();
        connection.send('3');
      } else if (packet.startsWith('40')) {
        attempts = 0;
        tell('state', 'live');
      } else if (packet.startsWith('42')) {
        const event = JSON.parse(packet.slice(2));
        if (event[0] === 'user count' && Number.isFinite(event[1])) tell('user count', event[1]);
      }
    }

    function connect() {
      clearTimeout(retry);
      const mine = new WebSocket(endpoint);
      connection = mine;
      mine.onmessage = function (message) {
        if (connection !== mine || typeof message.data !== 'string') return;
        try {
          receive(message.data);
        } catch {
          lost();
        }
      };
      mine.onclose = function () {
        if (connection === mine) lost();
      };
    }

    function drop() {
      clearTimeout(silence);
      const former = connection;
      connection = null;
      if (former) former.close();
    }

    function lost() {
      drop();
      if (closed) return;
      tell('state', 'reconnecting');
      const most = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempts);
      attempts += 1;
      clearTimeout(retry);
      retry = setTimeout(connect, most * (0.5 + Math.random() / 2));
    }

    connect();
    return {
      on: function (event, listener) {
        if (listeners[event]) listeners[event].push(listener);
        return this;
      },
      close: function () {
        closed = true;
        clearTimeout(retry);
        drop();
        tell('state', 'closed');
      },
    };
  }

  global.headcount = headcount;
})(globalThis);
