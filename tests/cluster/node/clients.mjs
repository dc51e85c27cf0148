// The Socket.IO client as it is served (SOCKET_IO_JS) and the real one, and what their tests need.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { test } from "node:test";
import { Server } from "socket.io";
import { io as reference } from "socket.io-client";
import { WebSocket } from "ws";

// Browsers have one; so do later versions of Node.
globalThis.WebSocket ??= WebSocket;
export const own = createRequire(import.meta.url)(process.env.SOCKET_IO_JS);
export const clients = { own, reference };
export const FAST = { forceNew: true, reconnectionDelay: 10, reconnectionDelayMax: 50 };

// Runs a test with each client on each transport.
export function forAll(name, run) {
  for (const [whose, io] of Object.entries(clients)) {
    for (const transport of ["websocket", "polling"]) {
      test(`${name} (${whose}, ${transport})`, { timeout: 30000 }, (t) =>
        run({ t, io, transport, options: { ...FAST, transports: [transport] } }),
      );
    }
  }
}

// A reference server on a free port, gone after the test.
export async function serve(t, options = {}, http = createServer()) {
  const server = new Server(http, { cors: { origin: "*" }, ...options });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise((resolve) => server.close(resolve)));
  return { server, url: `http://127.0.0.1:${http.address().port}` };
}

// The next time that an event comes, with its values.
export function next(emitter, event) {
  return new Promise((resolve) => emitter.once(event, (...values) => resolve(values)));
}
