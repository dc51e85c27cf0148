// The reference server, for the cluster tests to send the same requests to: it has the default namespace and the
// namespace /room, where it emits a count of 1 to who joins.
//
// Writes its port on stdout, and ends when stdin ends.

import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer((_, response) => response.writeHead(404).end());
const io = new Server(server, { pingInterval: 25_000, pingTimeout: 20_000, maxHttpBufferSize: 16_384, serveClient: false });
io.of("/room").on("connection", (socket) => socket.emit("user count", 1));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
