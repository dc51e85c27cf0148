// Rooms with the Socket.IO client as it is served (SOCKET_IO_JS) beside the real one: many namespaces on one connection of
// a reference server.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { FAST, forAll, next, own, serve } from "./clients.mjs";

const ROOMS = ["/", "/a", "/blog/post-1", "/b/ü"];

// A server that tells every socket of every room which room it is in and what it was sent to enter it.
async function serveRooms(t, http) {
  const served = await serve(t, {}, http);
  for (const room of ROOMS) {
    served.server.of(room).on("connection", (socket) => socket.emit("entered", room, socket.handshake.auth));
  }
  return served;
}

// How each room is entered: as a member, watching, and asked anew for every connection.
function auths() {
  let asked = 0;
  return [undefined, { watch: true }, (answer) => setTimeout(answer, 1, { asked: ++asked }), { watch: true }];
}

function enter(io, url, options) {
  const all = auths();
  return ROOMS.map((room, number) => io(url + room, { ...options, forceNew: false, auth: all[number] }));
}

forAll("rooms share a connection, and a new connection restores all of them", async ({ t, io, options }) => {
  const { server, url } = await serveRooms(t);
  const sockets = enter(io, url, options);
  const entered = () => Promise.all(sockets.map((socket) => next(socket, "entered")));
  const expected = (asked) => [["/", {}], ["/a", { watch: true }], ["/blog/post-1", { asked }], ["/b/ü", { watch: true }]];
  assert.deepEqual(await entered(), expected(1));
  assert.equal(server.engine.clientsCount, 1);
  const former = sockets.map(({ id }) => id);
  assert.equal(new Set(former).size, ROOMS.length);
  const lost = Promise.all(sockets.map((socket) => next(socket, "disconnect")));
  const again = entered();
  server.sockets.sockets.get(sockets[0].id).conn.close();
  assert.deepEqual((await lost).map(([reason]) => reason), ROOMS.map(() => "transport close"));
  assert.deepEqual(await again, expected(2));
  assert.ok(sockets.every((socket, number) => socket.connected && socket.id !== former[number]));
  assert.equal(server.engine.clientsCount, 1);
  sockets.forEach((socket) => socket.disconnect());
});

forAll("who leaves one room stays in the others, and does not return to it by itself", async ({ t, io, options }) => {
  const { server, url } = await serveRooms(t);
  const sockets = enter(io, url, options);
  await Promise.all(sockets.map((socket) => next(socket, "entered")));
  const [site, left, ...others] = sockets;
  const gone = new Promise((resolve) => server.of("/a").sockets.get(left.id).on("disconnect", resolve));
  left.disconnect();
  assert.equal(await gone, "client namespace disconnect");
  assert.deepEqual(sockets.map(({ connected }) => connected), [true, false, true, true]);
  const again = Promise.all([site, ...others].map((socket) => next(socket, "entered")));
  server.sockets.sockets.get(site.id).conn.close();
  await again;
  assert.equal(server.of("/a").sockets.size, 0);
  const back = next(left, "entered");
  left.connect();
  assert.deepEqual(await back, ["/a", { watch: true }]);
  assert.equal(server.engine.clientsCount, 1);
  sockets.forEach((socket) => socket.disconnect());
});

forAll("a refusal has its code, comes with every connection, and is asked for again on demand", async ({ t, io, options }) => {
  const { server, url } = await serveRooms(t);
  let isOpen = false;
  const refusal = Object.assign(new Error("too many rooms"), { data: { code: "too_many_rooms" } });
  server.of("/full").use((_, go) => go(isOpen ? undefined : refusal));
  const shared = { ...options, forceNew: false };
  const [site, full] = [io(url, shared), io(`${url}/full`, shared)];
  const entered = next(site, "entered");
  const [error] = await next(full, "connect_error");
  await entered;
  assert.deepEqual([error.message, error.data], ["too many rooms", { code: "too_many_rooms" }]);
  assert.deepEqual([site.connected, full.connected, full.active], [true, false, false]);
  isOpen = true;
  full.connect();
  await next(full, "connect");
  assert.equal(site.io, full.io);
  [site, full].forEach((socket) => socket.disconnect());
});

test("all rooms are asked for in one request, and in one task", { timeout: 30000 }, async (t) => {
  const posts = [];
  const http = createServer();
  const { url } = await serveRooms(t, http);
  http.prependListener("request", (request) => {
    if (request.method === "POST") posts.push(Number(request.headers["content-length"]));
  });
  const sockets = enter(own, url, { ...FAST, transports: ["polling"] });
  await Promise.all(sockets.map((socket) => next(socket, "entered")));
  // The one whose `auth` is a function is asked for later.
  const asks = ["40", '40/a,{"watch":true}', '40/b/ü,{"watch":true}'].join("\x1e");
  assert.deepEqual(posts, [asks, '40/blog/post-1,{"asked":1}'].map((body) => Buffer.byteLength(body)));
  sockets.forEach((socket) => socket.disconnect());

  const sent = [];
  let task = 0;
  class Counted extends WebSocket {
    send(packet) {
      sent.push([task, packet]);
      setImmediate(() => (task += 1));
      super.send(packet);
    }
  }
  const { WebSocket: plain } = globalThis;
  globalThis.WebSocket = Counted;
  t.after(() => (globalThis.WebSocket = plain));
  const shop = await serveRooms(t);
  const many = Array.from({ length: 50 }, (_, number) => own(`${shop.url}/shoe/${number}`, { ...FAST, forceNew: false }));
  await Promise.all(many.map((socket) => next(socket, "connect_error")));
  const joins = sent.filter(([, packet]) => packet.startsWith("40"));
  assert.deepEqual([joins.length, new Set(joins.map(([when]) => when)).size], [50, 1]);
});
