// Real clients by default (polling, then a websocket) whose pages go away: all their sockets end at once, without a word,
// some milliseconds after they joined.
//
//   node leaving.mjs URL PAGES MILLISECONDS
// writes how many had joined, and ends.

import { Agent } from "node:http";
import { io } from "socket.io-client";

const [url, pages, delay] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];

// The sockets of one page, and no more of them once it has gone.
class Page extends Agent {
  open = new Set();
  gone = false;

  createConnection(options, callback) {
    const socket = super.createConnection(options, callback);
    this.open.add(socket);
    if (this.gone) socket.destroy();
    return socket;
  }

  goAway() {
    this.gone = true;
    for (const socket of this.open) socket.destroy();
  }
}

async function view() {
  const page = new Page({ keepAlive: true });
  const socket = io(url, { agent: page, forceNew: true, reconnection: false });
  const joined = await new Promise((resolve) => {
    socket.on("connect", () => resolve(true));
    socket.on("connect_error", () => resolve(false));
  });
  if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
  page.goAway();
  return joined;
}

let joined = 0;
for (let done = 0; done < pages; done += 10) {
  const views = await Promise.all(Array.from({ length: 10 }, view));
  joined += views.filter(Boolean).length;
}
console.log(joined);
process.exit(0);
