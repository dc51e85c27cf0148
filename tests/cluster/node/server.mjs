// The reference server, for the cluster tests to send the same requests to: it has the default namespace and nothing else.
//
// Writes its port on stdout, and ends when stdin ends.

import { createServer } from "node:http";
import { Server } from "socket.io";

const server = createServer((_, response) => response.writeHead(404).end());
new Server(server, { pingInterval: 25_000, pingTimeout: 20_000, maxHttpBufferSize: 16_384, serveClient: false });
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
