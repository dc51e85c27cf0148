// What a user of Node would write for the same job: Socket.IO, its Redis adapter for several servers, and a
// counter with INCR and DECR. With --emit each, all clients are told at every join and leave, as in the lesson.
// With --emit merged, they are told at most once in an interval, and a new client at once.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const KEY = 'currentUsers';
const EVENT = 'user count';

const { values } = parseArgs({
  options: {
    listen: { type: 'string' },
    emit: { type: 'string', default: 'merged' },
    'interval-ms': { type: 'string', default: '50' },
    redis: { type: 'string' },
  },
});
const [host, port] = values.listen.split(':');
const merged = values.emit === 'merged';
const interval = Number(values['interval-ms']);

// One server counts in a variable, several count in Redis.
const counter = values.redis ? await inRedis(values.redis) : inMemory();
const http = createServer();
const io = new Server(http, { adapter: counter.adapter, serveClient: false, perMessageDeflate: false });

let newest = 0;
let timer = null;

io.on('connection', async (socket) => {
  // This comes before the first await, or a client that leaves meanwhile would stay counted.
  socket.on('disconnect', async () => changed(await counter.leave()));
  const currentUsers = await counter.join();
  if (merged) socket.emit(EVENT, currentUsers);
  changed(currentUsers);
});

function changed(currentUsers) {
  if (!merged) {
    io.emit(EVENT, currentUsers);
    return;
  }
  newest = currentUsers;
  timer ??= setTimeout(() => {
    timer = null;
    io.emit(EVENT, newest);
  }, interval);
}

function inMemory() {
  let currentUsers = 0;
  return { join: () => ++currentUsers, leave: () => --currentUsers };
}

async function inRedis(url) {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return {
    adapter: createAdapter(publisher, subscriber),
    join: () => publisher.incr(KEY),
    leave: () => publisher.decr(KEY),
  };
}

http.listen({ host, port: Number(port), backlog: 4096 }, () => console.log('listening'));
