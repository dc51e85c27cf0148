// Headcount's own Socket.IO client (Engine.IO 4, Socket.IO 5), not socket.io-client: it receives events and sends none.
//
// `io`, its options and its events are those of socket.io-client 4 that docs/embed.md of the project lists:
// namespaces that share a connection, `auth`, reconnection, and polling where no websocket can be opened. `emit` does
// nothing, and binary events are ignored. For anything more use socket.io-client, which works with the server too.
// This file is one function: its parameter is the class `Session` of session.js, and it returns `io`.
(function (Session) {
  'use strict';
  const DEFAULTS = {
    path: '/socket.io',
    timeout: 20000,
    reconnection: true,
    reconnectionAttempts: Infinity,
    reconnectionDelay: 1000,
    reconnectionDelayMax: 5000,
    randomizationFactor: 0.5,
    autoConnect: true,
    transports: ['websocket', 'polling'],
  };
  // By address and path. Namespaces with the same address and path share a connection.
  const managers = new Map();
  // Connections that wait for the next attempt. Events that promise success end the wait.
  const waiting = new Set();
  for (const sign of ['online', 'pageshow']) {
    globalThis.addEventListener?.(sign, () => [...waiting].forEach((retry) => retry()));
  }

  class Emitter {
    #listeners = new Map();

    on(event, listener) {
      return this.#add(event, { listener });
    }

    once(event, listener) {
      return this.#add(event, { listener, isOnce: true });
    }

    #add(event, entry) {
      this.#listeners.set(event, [...this.#entries(event), entry]);
      return this;
    }

    off(event, listener) {
      const entries = this.#entries(event);
      const index = entries.findIndex((entry) => entry.listener === listener);
      if (event === undefined) this.#listeners.clear();
      else if (listener === undefined) this.#listeners.delete(event);
      else this.#listeners.set(event, entries.filter((_, other) => other !== index));
      return this;
    }

    listeners(event) {
      return this.#entries(event).map(({ listener }) => listener);
    }

    hasListeners(event) {
      return this.#entries(event).length > 0;
    }

    #entries(event) {
      return this.#listeners.get(event) ?? [];
    }

    // An error in a listener is reported, and the other listeners are still called.
    tell(event, ...values) {
      for (const { listener, isOnce } of this.#entries(event)) {
        if (isOnce) this.off(event, listener);
        try {
          listener.apply(this, values);
        } catch (error) {
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    }
  }
  const { on, off } = Emitter.prototype;
  Object.assign(Emitter.prototype, { addEventListener: on });
  Object.assign(Emitter.prototype, { removeListener: off, removeAllListeners: off, removeEventListener: off });

  // The connection to one address. It opens it, reopens it after a loss, and passes packets to the sockets that share
  // it.
  class Manager extends Emitter {
    #state = 'closed';
    #attempts = 0;
    #isLeft = false;
    #stopWaiting;

    constructor(url, options) {
      super();
      this.uri = url;
      this.opts = { ...DEFAULTS, ...options, url };
      // By namespace.
      this.nsps = new Map();
    }

    socket(namespace, options) {
      if (!this.nsps.has(namespace)) this.nsps.set(namespace, new Socket(this, namespace, options));
      const socket = this.nsps.get(namespace);
      if (this.opts.autoConnect) socket.connect();
      return socket;
    }

    // Calls `then` with an error, or with nothing on success.
    open(then) {
      this.#isLeft = false;
      if (this.#state !== 'closed') return this;
      if (!then && this.#stopWaiting) return this;
      this.#state = 'opening';
      this.engine = new Session(this.opts, {
        opened: () => {
          this.#state = 'open';
          this.tell('open');
          for (const socket of this.#active()) socket.join();
          then?.();
        },
        failed: (error) => {
          this.#state = 'closed';
          this.tell('error', error);
          for (const socket of this.#active()) socket.tell('connect_error', error);
          if (then) then(error);
          else this.#reconnect();
        },
        received: (packet) => this.#receive(packet),
        ended: (reason, error) => {
          this.#state = 'closed';
          this.#attempts = 0;
          this.tell('close', reason, error);
          for (const socket of this.#active()) socket.leave(reason, error);
          this.#reconnect();
        },
      });
      return this;
    }

    connect(then) {
      return this.open(then);
    }

    get isOpen() {
      return this.#state === 'open';
    }

    send(packet) {
      if (this.isOpen) this.engine.send(`4${packet}`);
    }

    // Closes the connection when no socket uses it any more.
    release() {
      if (this.#active().length) return;
      this.#isLeft = true;
      this.#stopWaiting?.();
      if (this.#state === 'closed') return;
      this.#state = 'closed';
      this.engine.close();
      this.tell('close', 'forced close');
    }

    #active() {
      return [...this.nsps.values()].filter((socket) => socket.active);
    }

    #receive(packet) {
      const [, type, namespace = '/', value] = /^([0-6])(?:(\/[^,]*)(?:,|$))?\d*(.*)$/s.exec(packet);
      const socket = this.nsps.get(namespace);
      // Types 5 and 6 are binary, and type 3 acknowledges events, which this client never sends.
      if (!socket || !['0', '1', '2', '4'].includes(type)) return;
      socket.receive(type, value ? JSON.parse(value) : undefined);
    }

    #reconnect() {
      const { reconnection, reconnectionAttempts } = this.opts;
      if (!reconnection || this.#isLeft || this.#stopWaiting) return;
      if (this.#attempts >= reconnectionAttempts) {
        this.#attempts = 0;
        this.tell('reconnect_failed');
        return;
      }
      const retry = () => {
        this.#stopWaiting();
        this.tell('reconnect_attempt', this.#attempts);
        if (this.#isLeft) return;
        this.open((error) => {
          if (error) {
            this.tell('reconnect_error', error);
            this.#reconnect();
            return;
          }
          const attempts = this.#attempts;
          this.#attempts = 0;
          this.tell('reconnect', attempts);
        });
      };
      const timer = setTimeout(retry, this.#delay());
      waiting.add(retry);
      this.#stopWaiting = () => {
        clearTimeout(timer);
        waiting.delete(retry);
        this.#stopWaiting = undefined;
      };
    }

    // Doubles after every attempt, and is shortened at random so that the clients of a server do not all return at
    // the same moment.
    #delay() {
      const { reconnectionDelay, reconnectionDelayMax, randomizationFactor } = this.opts;
      const delay = Math.min(reconnectionDelayMax, reconnectionDelay * 2 ** this.#attempts++);
      return delay * (1 - randomizationFactor * Math.random());
    }
  }

  // One namespace. `active` says whether it is connected, or will connect by itself.
  class Socket extends Emitter {
    connected = false;
    active = false;
    recovered = false;
    id = undefined;

    constructor(manager, namespace, options) {
      super();
      this.io = manager;
      this.nsp = namespace;
      this.auth = options?.auth;
    }

    get disconnected() {
      return !this.connected;
    }

    get volatile() {
      return this;
    }

    connect() {
      if (this.active) return this;
      this.active = true;
      if (this.io.isOpen) this.join();
      else this.io.open();
      return this;
    }

    disconnect() {
      if (this.connected) this.#say('1');
      const { connected } = this;
      this.active = false;
      this.io.release();
      if (connected) this.leave('io client disconnect');
      return this;
    }

    emit() {
      return this;
    }

    // Asks to join the namespace. If `auth` is a function, it is asked first and calls back with the value.
    join() {
      const { engine } = this.io;
      const ask = (auth) => {
        if (this.active && this.io.engine === engine) this.#say('0', auth);
      };
      if (typeof this.auth === 'function') this.auth(ask);
      else ask(this.auth);
    }

    leave(reason, details) {
      this.connected = false;
      this.id = undefined;
      this.tell('disconnect', reason, details);
    }

    receive(type, value) {
      // The page has left before the server let it in.
      if (!this.active) {
        if (type === '0') this.#say('1');
      } else if (type === '0') {
        this.id = value?.sid;
        this.connected = true;
        this.tell('connect');
      } else if (type === '2') {
        if (Array.isArray(value)) this.tell(...value);
      } else {
        this.active = false;
        this.io.release();
        if (type === '1') this.leave('io server disconnect');
        else this.tell('connect_error', Object.assign(new Error(value?.message), { data: value?.data }));
      }
    }

    #say(type, value) {
      const namespace = this.nsp === '/' ? '' : `${this.nsp},`;
      this.io.send(type + namespace + (value === undefined ? '' : JSON.stringify(value)));
    }
  }
  const { connect, disconnect, emit } = Socket.prototype;
  Object.assign(Socket.prototype, { open: connect, close: disconnect });
  Object.assign(Socket.prototype, { send: emit, compress: emit, timeout: emit });

  // Splits an address: the part after the host is the namespace, exactly as written.
  function locate(uri = '') {
    const here = globalThis.location;
    let text = uri;
    if (uri.startsWith('//')) text = here.protocol + uri;
    else if (uri === '' || uri.startsWith('/')) text = here.origin + uri;
    else if (!/^(http|ws)s?:\/\//.test(uri)) text = `${here?.protocol ?? 'https:'}//${uri}`;
    text = text.replace(/^ws/, 'http');
    const { origin, search } = new URL(text);
    const [, namespace] = /^\w+:\/\/[^/?#]*([^?#]*)/.exec(text);
    return { url: origin, namespace: namespace || '/', search };
  }

  function io(uri, options) {
    if (typeof uri === 'object' && uri !== null) return io(undefined, uri);
    const { url, namespace, search } = locate(uri ?? undefined);
    const asked = { ...options, query: options?.query ?? search };
    const key = `${url} ${(asked.path ?? DEFAULTS.path).replace(/\/?$/, '/')}`;
    const shared = managers.get(key);
    const isApart = asked.forceNew || asked['force new connection'] || asked.multiplex === false;
    if (shared && !isApart && !shared.nsps.has(namespace)) return shared.socket(namespace, asked);
    const manager = new Manager(url, asked);
    if (!shared && !isApart) managers.set(key, manager);
    return manager.socket(namespace, asked);
  }

  return Object.assign(io, { io, connect: io, Manager, Socket, protocol: 5 });
})
