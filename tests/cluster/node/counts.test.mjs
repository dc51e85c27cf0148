// Rooms of a real Headcount (HEADCOUNT_URL) with the Socket.IO client that it serves (SOCKET_IO_JS) beside the real one:
// both are told the same.

import assert from "node:assert/strict";
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

// A room of this test alone, whose socket knows its newest count.
function enterer(io, options) {
  const prefix = `/test-${(tests += 1)}`;
  return (room, auth) => {
    const socket = io(`${url}${room === "/" ? room : prefix + room}`, { ...options, forceNew: false, auth });
    return socket.on("user count", (users) => (socket.users = users));
  };
}

forAll("members are counted and watchers are not, on one connection and on many", async ({ io, options }) => {
  const enter = enterer(io, options);
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

forAll("after a loss every room counts once more, each as before", async ({ io, options }) => {
  const enter = enterer(io, options);
  const onlooker = enter("/a", (answer) => answer({ watch: true }));
  const member = enter("/b", (answer) => setTimeout(answer, 1, {}));
  await Promise.all([counts(onlooker, 0), counts(member, 1)]);
  const apart = enterer(io, { ...options, forceNew: true, multiplex: false });
  tests -= 1;
  const other = io(`${url}${member.nsp}`, { ...options, forceNew: true });
  other.on("user count", (users) => (other.users = users));
  assert.equal(typeof apart, "function");
  await Promise.all([counts(other, 2), counts(member, 2)]);
  const lost = Promise.all([onlooker, member].map((socket) => next(socket, "disconnect")));
  const returned = Promise.all([onlooker, member].map((socket) => next(socket, "connect")));
  member.io.engine.close();
  [onlooker, member].forEach((socket) => socket.connect());
  await lost;
  await returned;
  await Promise.all([counts(onlooker, 0), counts(member, 2), counts(other, 2)]);
  [onlooker, member, other].forEach((socket) => socket.disconnect());
});
