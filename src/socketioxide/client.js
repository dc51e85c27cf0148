// The least of socket.io-client that a page with one server needs: io(), then on, off and disconnect.
//
// It connects by websocket to the server of the page, joins the default namespace, answers pings, and returns by itself.
// Events of the server arrive as with socket.io-client; nothing is sent but what joining and staying take.
globalThis.io = () => {
  const FIRST_DELAY_MS = 500;
  const LONGEST_DELAY_MS = 5000;
  const listeners = new Map();
  let websocket;
  let delay = FIRST_DELAY_MS;
  let silence;
  let timer;
  let left = false;

  const socket = {
    connected: false,
    id: undefined,
    on(event, listener) {
      listeners.set(event, [...(listeners.get(event) || []), listener]);
      return socket;
    },
    off(event, listener) {
      const others = (listeners.get(event) || []).filter((each) => listener && each !== listener);
      listeners.set(event, others);
      return socket;
    },
    disconnect() {
      left = true;
      clearTimeout(timer);
      if (websocket) websocket.close();
      return socket;
    },
  };

  function fire(event, ...values) {
    for (const listener of listeners.get(event) || []) listener(...values);
  }

  // Pings come from the server: without one for so long it is not there any more.
  function expectPing({ pingInterval, pingTimeout }) {
    clearTimeout(timer);
    silence = { pingInterval, pingTimeout };
    timer = setTimeout(() => websocket.close(), pingInterval + pingTimeout);
  }

  function receive(packet) {
    if (packet === "2") {
      websocket.send("3");
      expectPing(silence);
    } else if (packet.startsWith("0")) {
      expectPing(JSON.parse(packet.slice(1)));
      websocket.send("40");
    } else if (packet.startsWith("40")) {
      delay = FIRST_DELAY_MS;
      socket.connected = true;
      socket.id = JSON.parse(packet.slice(2)).sid;
      fire("connect");
    } else if (packet.startsWith("42[")) {
      fire(...JSON.parse(packet.slice(2)));
    }
  }

  function connect() {
    const address = new URL("/socket.io/?EIO=4&transport=websocket", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    websocket = new WebSocket(address);
    websocket.onmessage = (message) => receive(message.data);
    websocket.onclose = () => {
      clearTimeout(timer);
      if (socket.connected) {
        socket.connected = false;
        fire("disconnect", left ? "io client disconnect" : "transport close");
      }
      if (left) return;
      // Half of it at random, so that the clients of a server that ended do not all come at once.
      timer = setTimeout(connect, delay * (0.5 + Math.random() / 2));
      delay = Math.min(2 * delay, LONGEST_DELAY_MS);
    };
  }

  connect();
  return socket;
};
