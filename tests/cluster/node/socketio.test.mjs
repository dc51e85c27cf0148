// The Socket.IO client as it is served (SOCKET_IO_JS) beside the real one: what both support, both do alike, with the
// reference server and with servers that fail. Where no server behaves so by itself, a bare websocket plays it. Rooms are
// in namespaces.test.mjs.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { WebSocketServer } from "ws";
import { FAST, clients, forAll, next, own, serve } from "./clients.mjs";

// A server of bare websockets that opens a session, and answers the join with these packets.
async function serveBare(t, { opening = {}, answers = ['40{"sid":"x"}'] }) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await new Promise((resolve) => server.on("listening", resolve));
  server.on("connection", (socket) => {
    const all = { sid: "s", upgrades: [], pingInterval: 25000, pingTimeout: 20000, maxPayload: 1000, ...opening };
    socket.send(`0${JSON.stringify(all)}`);
    socket.on("message", (packet) => String(packet).startsWith("40") && answers.forEach((answer) => socket.send(answer)));
  });
  t.after(() => {
    server.clients.forEach((socket) => socket.terminate());
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

forAll("events are told with their values, and leaving is told to the server", async ({ t, io, options }) => {
  const { server, url } = await serve(t);
  const left = new Promise((resolve) => server.on("connection", (socket) => {
    socket.emit("many", 1, "two", { three: [3] }, null);
    socket.emit("user count", 7);
    socket.on("disconnect", resolve);
  }));
  const socket = io(url, options);
  assert.deepEqual([socket.connected, socket.active, socket.id], [false, true, undefined]);
  const many = next(socket, "many");
  const users = next(socket, "user count");
  await next(socket, "connect");
  assert.ok(server.sockets.sockets.has(socket.id));
  assert.equal(socket.connected, true);
  assert.deepEqual(await many, [1, "two", { three: [3] }, null]);
  assert.deepEqual(await users, [7]);
  const reason = next(socket, "disconnect");
  socket.disconnect();
  assert.equal((await reason)[0], "io client disconnect");
  assert.deepEqual([socket.connected, socket.active, socket.id], [false, false, undefined]);
  assert.equal(await left, "client namespace disconnect");
});

forAll("listeners come and go", async ({ t, io, options }) => {
  const { server, url } = await serve(t);
  const heard = [];
  const socket = io(url, options);
  const gone = () => heard.push("gone");
  socket.once("a", (value) => heard.push(["once", value])).on("a", gone).on("a", (value) => heard.push(["on", value]));
  socket.off("a", gone);
  socket.on("b", gone).off("b");
  await next(socket, "connect");
  assert.equal(socket.listeners("a").length, 2);
  for (const [event, value] of [["a", 1], ["b", 2], ["a", 3], ["end", 4]]) server.emit(event, value);
  await next(socket, "end");
  assert.deepEqual(heard, [["once", 1], ["on", 1], ["on", 3]]);
  socket.off();
  assert.equal(socket.hasListeners("a"), false);
  socket.disconnect();
});

forAll("namespaces share a connection, and leave it one by one", async ({ t, io, options }) => {
  const { server, url } = await serve(t);
  for (const room of ["/", "/a", "/b c/ü"]) server.of(room).on("connection", (socket) => socket.emit("room", room));
  const shared = { ...options, forceNew: false };
  const sockets = [io(url, shared), io(`${url}/a`, shared), io(`${url}/b c/ü?x=1`, shared)];
  const rooms = await Promise.all(sockets.map((socket) => next(socket, "room")));
  assert.deepEqual(rooms, [["/"], ["/a"], ["/b c/ü"]]);
  assert.equal(server.engine.clientsCount, 1);
  assert.equal(sockets[0].io, sockets[2].io);
  // Once more the same namespace is another connection.
  const again = io(`${url}/a`, shared);
  await next(again, "room");
  assert.equal(server.engine.clientsCount, 2);
  again.disconnect();
  sockets[0].disconnect();
  assert.deepEqual(sockets.map((socket) => socket.connected), [false, true, true]);
  const ended = new Promise((resolve) => [...server.of("/a").sockets.values()]
    .find((socket) => socket.id === sockets[1].id).conn.on("close", resolve));
  sockets[1].disconnect();
  sockets[2].disconnect();
  await ended;
});

forAll("auth is an object or a function, and is asked for with every connection", async ({ t, io, options }) => {
  const { server, url } = await serve(t);
  const seen = [];
  server.on("connection", (socket) => seen.push([socket.handshake.auth, socket.handshake.query.page]));
  const plain = io(`${url}/?page=7`, { ...options, auth: { token: "abc" } });
  await next(plain, "connect");
  let asked = 0;
  const later = io(url, { ...options, auth: (answer) => setTimeout(answer, 1, { asked: ++asked }) });
  await next(later, "connect");
  const again = next(later, "connect");
  server.sockets.sockets.get(later.id).conn.close();
  await again;
  assert.deepEqual(seen, [[{ token: "abc" }, "7"], [{ asked: 1 }, undefined], [{ asked: 2 }, undefined]]);
  plain.disconnect();
  later.disconnect();
});

forAll("a refused namespace is told so, and leaves the others alone", async ({ t, io, options }) => {
  const { server, url } = await serve(t);
  server.of("/closed").use((_, go) => go(Object.assign(new Error("not you"), { data: { code: "room_forbidden" } })));
  const shared = { ...options, forceNew: false };
  const [open, closed, unknown] = [io(url, shared), io(`${url}/closed`, shared), io(`${url}/unknown`, shared)];
  const [[refusal], [ignorance]] = await Promise.all([next(closed, "connect_error"), next(unknown, "connect_error")]);
  assert.deepEqual([refusal.message, refusal.data], ["not you", { code: "room_forbidden" }]);
  assert.equal(ignorance.message, "Invalid namespace");
  assert.deepEqual([closed.active, closed.connected, unknown.active], [false, false, false]);
  if (!open.connected) await next(open, "connect");
  server.emit("still here", 1);
  assert.deepEqual(await next(open, "still here"), [1]);
  open.disconnect();
});

forAll("who is sent away by the server stays away until told to return", async ({ t, io, options }) => {
  const { server, url } = await serve(t);
  const socket = io(url, options);
  await next(socket, "connect");
  const reason = next(socket, "disconnect");
  server.disconnectSockets();
  assert.equal((await reason)[0], "io server disconnect");
  assert.equal(socket.active, false);
  socket.connect();
  await next(socket, "connect");
  socket.disconnect();
});

forAll("a lost connection is made again by itself", async ({ t, io, options }) => {
  const { server, url } = await serve(t);
  const socket = io(url, options);
  await next(socket, "connect");
  const first = socket.id;
  const events = [];
  socket.on("disconnect", (reason) => events.push(reason));
  socket.io.on("reconnect_attempt", (attempt) => events.push(`attempt ${attempt}`));
  socket.io.on("reconnect", (attempt) => events.push(`returned at ${attempt}`));
  const again = next(socket, "connect");
  server.sockets.sockets.get(socket.id).conn.close();
  await again;
  assert.deepEqual(events, ["transport close", "attempt 1", "returned at 1"]);
  assert.notEqual(socket.id, first);
  socket.disconnect();
});

forAll("where nobody listens, every attempt is told, and the last is the last", async ({ io, transport, options }) => {
  const socket = io("http://127.0.0.1:1", { ...options, reconnectionAttempts: 2 });
  const events = [];
  socket.on("connect_error", (error) => events.push(error.message));
  for (const event of ["reconnect_attempt", "reconnect_failed"]) socket.io.on(event, () => events.push(event));
  socket.io.on("reconnect_error", (error) => assert.ok(error instanceof Error));
  await next(socket.io, "reconnect_failed");
  const message = { websocket: "websocket error", polling: "xhr poll error" }[transport];
  assert.deepEqual(events, [message, "reconnect_attempt", message, "reconnect_attempt", message, "reconnect_failed"]);
  assert.equal(socket.active, true);
  socket.disconnect();
});

for (const [whose, io] of Object.entries(clients)) {
  const options = { ...FAST, transports: ["websocket"] };

  test(`missing pings are a lost connection (${whose})`, { timeout: 30000 }, async (t) => {
    const socket = io(await serveBare(t, { opening: { pingInterval: 60, pingTimeout: 40 } }), options);
    assert.equal((await next(socket, "disconnect"))[0], "ping timeout");
    await next(socket, "connect");
    socket.disconnect();
  });

  test(`what is no packet ends the connection, and is tried anew (${whose})`, { timeout: 30000 }, async (t) => {
    for (const rubbish of ["42[", "4x", "42/a"]) {
      const socket = io(await serveBare(t, { answers: ['40{"sid":"x"}', rubbish] }), options);
      if (rubbish !== "42/a") assert.equal((await next(socket, "disconnect"))[0], "parse error", rubbish);
      await next(socket, "connect");
      socket.disconnect();
    }
  });

  test(`a server without websockets is spoken to by polling (${whose})`, { timeout: 30000 }, async (t) => {
    const { url } = await serve(t, { transports: ["polling"] });
    const socket = io(url, FAST);
    await next(socket, "connect");
    assert.equal(socket.io.engine.transport.name, "polling");
    socket.disconnect();
  });

  test(`another path is another endpoint (${whose})`, { timeout: 30000 }, async (t) => {
    const { url } = await serve(t, { path: "/live/socket.io/" });
    const socket = io(url, { ...options, path: "/live/socket.io" });
    await next(socket, "connect");
    socket.disconnect();
  });

  test(`nothing happens before it is told to connect (${whose})`, { timeout: 30000 }, async (t) => {
    const { server, url } = await serve(t);
    const socket = io(url, { ...options, autoConnect: false });
    assert.equal(socket.active, false);
    const come = new Promise((resolve) => server.on("connection", resolve));
    socket.connect();
    await come;
    socket.disconnect();
  });
}

test("a proxy that swallows websockets does not keep polling from working", { timeout: 30000 }, async (t) => {
  const http = createServer();
  const streams = [];
  t.after(() => streams.forEach((stream) => stream.destroy()));
  const { url } = await serve(t, { transports: ["polling"], destroyUpgrade: false }, http);
  // Nobody answers: the connection stays open, as behind such a proxy.
  http.on("upgrade", (_, stream) => streams.push(stream));
  const socket = own(url, FAST);
  await next(socket, "connect");
  assert.equal(socket.io.engine.transport.name, "polling");
  socket.disconnect();
});

test("who leaves before being let in is not left behind on the server", { timeout: 30000 }, async (t) => {
  const { server, url } = await serve(t);
  let letIn;
  server.of("/slow").use((_, go) => (letIn = go));
  const options = { ...FAST, forceNew: false, transports: ["websocket"] };
  const staying = own(url, options);
  const leaving = own(`${url}/slow`, options);
  await next(staying, "connect");
  while (!letIn) await new Promise(setImmediate);
  const left = new Promise((resolve) => server.of("/slow").on("connection", (socket) => socket.on("disconnect", resolve)));
  leaving.disconnect();
  letIn();
  assert.equal(await left, "client namespace disconnect");
  assert.equal(staying.connected, true);
  staying.disconnect();
});

test("nothing is sent but joins, leaves and pongs", { timeout: 30000 }, async (t) => {
  const { server, url } = await serve(t);
  const heard = [];
  server.on("connection", (socket) => socket.onAny((event) => heard.push(event)));
  const socket = own(url, { ...FAST, transports: ["websocket"] });
  await next(socket, "connect");
  assert.equal(socket.emit("a", 1).volatile.timeout(5).send("b"), socket);
  const [peer] = server.sockets.sockets.values();
  const left = new Promise((resolve) => peer.on("disconnect", resolve));
  socket.disconnect();
  await left;
  assert.deepEqual(heard, []);
});

test("a listener that throws keeps nobody from being told, and is reported", { timeout: 30000 }, async (t) => {
  const { server, url } = await serve(t);
  const socket = own(url, { ...FAST, transports: ["websocket"] });
  await next(socket, "connect");
  const reported = new Promise((resolve) => {
    process.prependOnceListener("uncaughtException", resolve);
  });
  const others = process.listeners("uncaughtException").slice(1);
  others.forEach((listener) => process.off("uncaughtException", listener));
  t.after(() => others.forEach((listener) => process.on("uncaughtException", listener)));
  socket.on("a", () => {
    throw new Error("the page's own");
  });
  const told = next(socket, "a");
  server.emit("a", 1);
  assert.deepEqual(await told, [1]);
  assert.equal((await reported).message, "the page's own");
  assert.equal(socket.connected, true);
  socket.disconnect();
});
