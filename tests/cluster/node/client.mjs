// The real socket.io-client, many at a time, driven by the cluster tests over JSON lines.
//
// Reads orders on stdin and writes what every client sees on stdout; it decides nothing by itself.
//   {"open": {"first": 0, "clients": 3, "url": "http://…", "transports": ["polling", "websocket"]}}
//   {"close": 2}
//   {"join": 2}, to come back after "close"
// With "rooms": [["/a", {}], ["/b", {"watch": true}]] there is one client for each room, with this "auth", and all of them
// share one connection. "options" may be beside them, for the library; with "strict" an attempt that fails is a violation.
// An "auth" with "tokens" becomes a function, as for an application that fetches a fresh token each time: it gives one after the
// other as "token", and the last of them from then on.
// gives, one line each: {"client": 0, "event": "connected" | "upgraded" | "count" | "users" | "disconnected" |
// "refused" | "violation", "value": 5, "users": {…}, "reason": "transport close"}. It ends when stdin ends.

import dns from "node:dns";
import { createInterface } from "node:readline";

// Which version is told on the command line.
const { io, Manager } = await import(process.argv[2]);

// Names that are kept for examples are this machine.
const { lookup } = dns;
dns.lookup = (name, ...rest) => lookup(name.endsWith(".example") ? "127.0.0.1" : name, ...rest);

const clients = new Map();

function tell(client, event, detail = {}) {
  process.stdout.write(`${JSON.stringify({ client, event, ...detail })}\n`);
}

function open({ first, clients: number, url, transports, options, strict, rooms }) {
  if (rooms) {
    const manager = new Manager(url, { transports, reconnectionDelay: 100, reconnectionDelayMax: 500, ...options });
    rooms.forEach(([room, auth], index) => openRoom(first + index, manager.socket(room, { auth: saying(auth) })));
    return;
  }
  for (let client = first; client < first + number; client++) {
    // The library leaves the cookie of a websocket in these, for whatever has the same ones, and for the next connection as well;
    // no browser does.
    const extraHeaders = options?.extraHeaders && { ...options.extraHeaders };
    // A connection of its own for each; coming back is left to the library, only faster than by default.
    const socket = io(url, {
      transports,
      forceNew: true,
      reconnectionDelay: 100,
      reconnectionDelayMax: 500,
      ...options,
      extraHeaders,
      auth: saying(options?.auth),
    });
    clients.set(client, socket);
    socket.io.on("reconnect_attempt", () => delete extraHeaders?.cookie);
    socket.io.on("open", () => socket.io.engine.once("upgrade", () => tell(client, "upgraded")));
    socket.on("connect", () => tell(client, "connected"));
    if (strict) socket.on("connect_error", (error) => tell(client, "violation", { reason: described(error) }));
    listen(client, socket);
  }
}

function openRoom(client, socket) {
  clients.set(client, socket);
  socket.on("connect", () => tell(client, "connected"));
  listen(client, socket);
  socket.connect();
}

function saying(auth) {
  if (!auth?.tokens) return auth;
  const { tokens, ...rest } = auth;
  const left = [...tokens];
  return (tell) => tell({ ...rest, token: left.length > 1 ? left.shift() : left[0] });
}

function listen(client, socket) {
  // An error without data is one of the connection, which the library restores.
  socket.on("connect_error", ({ data }) => data?.code && tell(client, "refused", { reason: data.code }));
  socket.on("disconnect", (reason) => tell(client, "disconnected", { reason }));
  socket.on("users", (...values) => {
    tell(client, values.length === 1 ? "users" : "violation", { users: values[0], reason: "users with several values" });
  });
  socket.on("user count", (...values) => {
    if (values.length === 1 && Number.isInteger(values[0])) {
      tell(client, "count", { value: values[0] });
    } else {
      tell(client, "violation", { reason: `user count with ${JSON.stringify(values)}` });
    }
  });
}

function described({ message, description, context }) {
  return `${message}: ${description?.message ?? description}, ${context?.responseText}`;
}

function close(client) {
  clients.get(client)?.disconnect();
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.open) open(order.open);
  if (order.close !== undefined) close(order.close);
  if (order.join !== undefined) clients.get(order.join).connect();
}
for (const client of [...clients.keys()]) close(client);
process.exit(0);
