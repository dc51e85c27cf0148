// The real socket.io-client, many at a time, driven by the cluster tests over JSON lines.
//
// Reads orders on stdin and writes what every client sees on stdout; it decides nothing by itself.
//   {"open": {"first": 0, "clients": 3, "url": "http://…", "transports": ["polling", "websocket"]}}
//   {"close": 2}
// gives, one line each: {"client": 0, "event": "connected" | "upgraded" | "count" | "disconnected" |
// "violation", "value": 5, "reason": "transport close"}. It ends when stdin ends.

import { createInterface } from "node:readline";

// Which version is told on the command line.
const { io } = await import(process.argv[2]);

const clients = new Map();

function tell(client, event, detail = {}) {
  process.stdout.write(`${JSON.stringify({ client, event, ...detail })}\n`);
}

function open({ first, clients: number, url, transports }) {
  for (let client = first; client < first + number; client++) {
    // A connection of its own for each; coming back is left to the library, only faster than by default.
    const socket = io(url, {
      transports,
      forceNew: true,
      reconnectionDelay: 100,
      reconnectionDelayMax: 500,
    });
    clients.set(client, socket);
    socket.io.on("open", () => socket.io.engine.once("upgrade", () => tell(client, "upgraded")));
    socket.on("connect", () => tell(client, "connected"));
    socket.on("disconnect", (reason) => tell(client, "disconnected", { reason }));
    socket.on("user count", (...values) => {
      if (values.length === 1 && Number.isInteger(values[0])) {
        tell(client, "count", { value: values[0] });
      } else {
        tell(client, "violation", { reason: `user count with ${JSON.stringify(values)}` });
      }
    });
  }
}

function close(client) {
  clients.get(client)?.disconnect();
  clients.delete(client);
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.open) open(order.open);
  if (order.close !== undefined) close(order.close);
}
for (const client of [...clients.keys()]) close(client);
process.exit(0);
