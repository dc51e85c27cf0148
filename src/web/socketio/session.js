// The Engine.IO part of the Socket.IO client: one session at a time, by websocket or polling. It knows no namespaces.
//
// This file is one function without parameters. It returns the class `Session`.
(function () {
  'use strict';
  const SEPARATOR = '\x1e';
  // Some proxies never answer a websocket request: polling must not wait for it as long as for a slow server.
  const WEBSOCKET_TIMEOUT_MS = 5000;
  // Bytes of one POST, if the server does not name a limit.
  const POST_BYTES = 16384;

  // Each function opens a connection, reports what it receives and how it ends, and returns `send` and `close`.
  const transports = {
    websocket(address, { receive, end }) {
      const socket = new WebSocket(address().replace(/^http/, 'ws'));
      socket.onmessage = ({ data }) => receive(data);
      socket.onerror = () => end('transport error', new Error('websocket error'));
      socket.onclose = () => end('transport close', new Error('websocket closed'));
      return { send: (packet) => socket.send(packet), close: () => socket.close() };
    },

    polling(address, { receive, end }, { withCredentials }) {
      const credentials = withCredentials ? 'include' : 'same-origin';
      const polls = new AbortController();
      const queue = [];
      let isPosting = false;
      let isClosed = false;

      async function ask(options) {
        const answer = await fetch(address(), { credentials, cache: 'no-store', ...options });
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        return answer.text();
      }

      async function poll() {
        try {
          while (!isClosed) {
            const payload = await ask({ signal: polls.signal });
            payload.split(SEPARATOR).forEach(receive);
          }
        } catch {
          end('transport error', new Error('xhr poll error'));
        }
      }

      // As many packets as the server accepts at a time, and at least one.
      function batch() {
        let bytes = 0;
        const most = self.maxPayload ?? POST_BYTES;
        const next = queue.findIndex((packet, index) => (bytes += packet.length * 3 + 1) > most && index > 0);
        return queue.splice(0, next < 0 ? queue.length : next).join(SEPARATOR);
      }

      async function post() {
        if (isPosting) return;
        isPosting = true;
        try {
          while (queue.length) {
            const headers = { 'content-type': 'text/plain;charset=UTF-8' };
            // The last packets arrive even if the page is gone.
            await ask({ method: 'POST', headers, body: batch(), keepalive: isClosed });
          }
        } catch {
          end('transport error', new Error('xhr post error'));
        }
        isPosting = false;
        if (isClosed) polls.abort();
      }

      queueMicrotask(poll);
      const self = {
        // What is sent in one task goes in one request.
        send(packet) {
          queue.push(packet);
          queueMicrotask(post);
        },
        // After a farewell the server ends the waiting poll. Without one there is no session left to end. What was sent
        // before goes in an earlier request: servers may end the session before they look at it.
        close(saysFarewell) {
          isClosed = true;
          if (queue.length) post();
          if (saysFarewell) self.send('1');
          else polls.abort();
        },
      };
      return self;
    },
  };

  // One Engine.IO session, over the first transport that can be opened.
  class Session {
    #options;
    #calls;
    #names;
    #timer;
    #posts = 0;
    #isOver = false;

    // `calls`: opened(), failed(error), received(packet), ended(reason, error).
    constructor(options, calls) {
      this.#options = options;
      this.#calls = calls;
      this.#names = ['websocket', 'polling'].filter((name) => options.transports.includes(name));
      for (const sign of ['offline', 'pagehide']) globalThis.addEventListener?.(sign, this.#leave);
      queueMicrotask(() => this.#next(new Error('no transports')));
    }

    send(packet) {
      this.transport.send(packet);
    }

    // Ends the session and tells the server. No callback is called.
    close() {
      this.#finish(this.id !== undefined);
    }

    #finish(saysFarewell) {
      this.#isOver = true;
      clearTimeout(this.#timer);
      for (const sign of ['offline', 'pagehide']) globalThis.removeEventListener?.(sign, this.#leave);
      this.transport?.close(saysFarewell);
    }

    // A page in the back/forward cache must not be counted; and the loss of a network would otherwise be noticed
    // late.
    #leave = () => {
      const error = new Error('network connection lost');
      this.close();
      if (this.id === undefined) this.#calls.failed(error);
      else this.#calls.ended('transport close', error);
    };

    // After a failure: tries the next transport, if there is one.
    #next(error) {
      if (this.#isOver) return;
      const name = this.#names.shift();
      if (!name) {
        this.#finish();
        this.#calls.failed(error);
        return;
      }
      const { timeout } = this.#options;
      this.#wait(this.#names.length ? Math.min(timeout || Infinity, WEBSOCKET_TIMEOUT_MS) : timeout, 'timeout');
      let transport;
      const isCurrent = () => transport && this.transport === transport && !this.#isOver;
      const handlers = {
        receive: (packet) => isCurrent() && this.#receive(packet),
        end: (reason, why) => isCurrent() && this.#end(reason, why),
      };
      try {
        transport = transports[name](() => this.#address(name), handlers, this.#options);
        this.transport = Object.assign(transport, { name });
      } catch (why) {
        this.#next(why);
      }
    }

    #address(name) {
      const { url, path, query } = this.#options;
      const own = { EIO: '4', transport: name };
      // Some caches look at nothing but the address.
      if (name === 'polling') own.t = Date.now().toString(36) + (this.#posts++).toString(36);
      if (this.id) own.sid = this.id;
      const asked = new URLSearchParams(own);
      new URLSearchParams(query).forEach((value, key) => key in own || asked.append(key, value));
      return `${url}${path.replace(/\/?$/, '/')}?${asked}`;
    }

    #wait(ms, reason) {
      clearTimeout(this.#timer);
      if (ms && ms < Infinity) this.#timer = setTimeout(() => this.#end(reason, new Error('timeout')), ms);
    }

    #end(reason, error) {
      if (this.#isOver) return;
      if (this.id === undefined) {
        this.transport?.close();
        this.transport = undefined;
        this.#next(error);
        return;
      }
      this.#finish();
      this.#calls.ended(reason, error);
    }

    #receive(packet) {
      try {
        if (typeof packet !== 'string') return;
        if (this.id === undefined) this.#open(packet);
        else if (packet[0] === '1') this.#end('transport close', new Error('closed by the server'));
        else if (packet[0] === '2') this.#answerPing();
        else if (packet[0] === '4') this.#calls.received(packet.slice(1));
      } catch (error) {
        this.#end('parse error', error);
      }
    }

    #open(packet) {
      if (packet[0] !== '0') throw new Error('not a server of Engine.IO');
      const { sid, pingInterval, pingTimeout, maxPayload } = JSON.parse(packet.slice(1));
      this.id = sid;
      this.silence = pingInterval + pingTimeout;
      this.transport.maxPayload = maxPayload;
      this.#wait(this.silence, 'ping timeout');
      this.#calls.opened();
    }

    // Only pings prove that the session lives: they come even if nothing else does.
    #answerPing() {
      this.#wait(this.silence, 'ping timeout');
      this.send('3');
    }
  }

  return Session;
})
