// Rooms of a real Headcount (HEADCOUNT_URL) with the Socket.IO client that it serves (SOCKET_IO_JS) beside the real one:
// both are told the same.

import assert from "node:assert/strict";
import { connect, createServer } from "node:net";
import { forAll, next } from "./clients.mjs";

const url = process.env.HEADCOUNT_URL;
let tests = 0;

// Waits until a room's newest count is this one.
function counts(socket, wanted) {
  return new Promise((resolve) => {
    const look = () => {
      if (socket.users !== wanted) return;
      socket.off("user count", look);
      resolve();
    };
    socket.on("user count", look);
    look();
  });
}

// The server at an address of this test alone, so that no connection is shared with another test. `cut` ends all
// connections to it. `enter` enters a room whose name is of this test alone, over a shared connection or one `apart`; each
// socket knows the newest count of its room.
async function serverFor(t, io, options) {
  const open = new Set();
  const relay = createServer((client) => {
    const { hostname, port } = new URL(url);
    const upstream = connect(port, hostname);
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      open.add(from);
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => open.delete(from) && to.destroy());
    }
  });
  await new Promise((resolve) => relay.listen(0, "127.0.0.1", resolve));
  const cut = () => open.forEach((socket) => socket.destroy());
  const base = `http://127.0.0.1:${relay.address().port}`;
  const prefix = `/test-${(tests += 1)}`;
  const enter = (room, auth, { apart } = {}) => {
    const socket = io((apart ? url : base) + prefix + room, { ...options, forceNew: !!apart, auth });
    return socket.on("user count", (users) => (socket.users = users));
  };
  t.after(() => {
    relay.close();
    cut();
  });
  return { enter, cut };
}

forAll("members are counted and watchers are not, on one connection and on many", async ({ t, io, options }) => {
  const { enter } = await serverFor(t, io, options);
  const watcher = enter("/a", { watch: true });
  await counts(watcher, 0);
  const member = enter("/b");
  await counts(member, 1);
  assert.equal(watcher.io, member.io);
  // The same room once more is another connection.
  const [again, first] = [enter("/b"), enter("/a")];
  await Promise.all([counts(member, 2), counts(again, 2), counts(watcher, 1), counts(first, 1)]);
  again.disconnect();
  await counts(member, 1);
  first.disconnect();
  await counts(watcher, 0);
  assert.ok(member.connected && watcher.connected);
  [watcher, member].forEach((socket) => socket.disconnect());
});

forAll("after a loss every room counts once more, each as before", async ({ t, io, options }) => {
  const { enter, cut } = await serverFor(t, io, options);
  const watcher = enter("/a", (answer) => answer({ watch: true }));
  const member = enter("/b", (answer) => setTimeout(answer, 1, {}));
  const apart = enter("/b", {}, { apart: true });
  await Promise.all([counts(watcher, 0), counts(member, 2), counts(apart, 2)]);
  const lost = Promise.all([watcher, member].map((socket) => next(socket, "disconnect")));
  const returned = Promise.all([watcher, member].map((socket) => next(socket, "connect")));
  // Between two polls there is no connection to cut.
  const cutting = setInterval(cut, 20);
  await lost;
  clearInterval(cutting);
  await returned;
  await Promise.all([counts(watcher, 0), counts(member, 2), counts(apart, 2)]);
  member.disconnect();
  await counts(apart, 1);
  [watcher, apart].forEach((socket) => socket.disconnect());
});

forAll("a refusal has its code, and leaves the other rooms alone", async ({ t, io, options }) => {
  const { enter } = await serverFor(t, io, options);
  const member = enter("/a");
  const errors = [];
  for (const [room, auth] of [["/too-long".repeat(20), {}], ["/b", { watch: "yes" }]]) {
    const refused = enter(room, auth);
    const [error] = await next(refused, "connect_error");
    errors.push(error.data.code);
    assert.deepEqual([refused.connected, refused.active], [false, false]);
  }
  assert.deepEqual(errors, ["room_not_allowed", "bad_auth"]);
  const most = Array.from({ length: 8 }, (_, number) => enter(`/most-${number}`));
  // With the first room, one is too many.
  const [error] = await Promise.any(most.map((socket) => next(socket, "connect_error")));
  assert.equal(error.data.code, "too_many_rooms");
  await counts(member, 1);
  assert.deepEqual(most.map(({ active }) => active), [true, true, true, true, true, true, true, false]);
  [member, ...most].forEach((socket) => socket.disconnect());
});
