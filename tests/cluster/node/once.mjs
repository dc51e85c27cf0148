// One real client, with the options that are told, up to its first count and, if it is to move to a websocket, up to that.
//
//   node once.mjs URL '{"transports": ["websocket", "polling"]}'
// writes {"ms": 12, "transport": "websocket", "count": 1} and ends.

import { io } from "socket.io-client";

const started = performance.now();
const options = JSON.parse(process.argv[3]);
const socket = io(process.argv[2], { reconnection: false, ...options });
socket.on("connect_error", (error) => {
  console.log(JSON.stringify({ error: String(error) }));
  process.exit(1);
});
let count;
socket.on("user count", (users) => {
  count = users;
  tell();
});
socket.io.on("open", () => socket.io.engine.on("upgrade", tell));

function tell() {
  const transport = socket.io.engine.transport.name;
  const moves = transport === "polling" && options.transports.indexOf("websocket") > 0;
  if (count === undefined || moves) return;
  console.log(JSON.stringify({ ms: Math.round(performance.now() - started), transport, count }));
  process.exit(0);
}
