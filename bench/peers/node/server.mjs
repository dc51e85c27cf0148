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

// A room is a namespace, which is made when somebody asks for it. The default one is the site.
io.on('connection', welcome);
io.of(/^\/./).on('connection', welcome);
const pending = new Map();

async function welcome(socket) {
  // This comes before the first await, or a client that leaves meanwhile would stay counted.
  socket.on('disconnect', async () => changed(socket.nsp, await counter.leave(socket.nsp.name)));
  const currentUsers = await counter.join(socket.nsp.name);
  if (merged) socket.emit(EVENT, currentUsers);
  changed(socket.nsp, currentUsers);
}

function changed(room, currentUsers) {
  if (!merged) {
    room.emit(EVENT, currentUsers);
    return;
  }
  if (!pending.has(room)) {
    setTimeout(() => {
      room.emit(EVENT, pending.get(room));
      pending.delete(room);
    }, interval);
  }
  pending.set(room, currentUsers);
}

function inMemory() {
  const counts = new Map();
  const add = (room, by) => {
    const users = (counts.get(room) ?? 0) + by;
    counts.set(room, users);
    return users;
  };
  return { join: (room) => add(room, 1), leave: (room) => add(room, -1) };
}

async function inRedis(url) {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const key = (room) => (room === '/' ? KEY : `${KEY}:${room}`);
  return {
    adapter: createAdapter(publisher, subscriber),
    join: (room) => publisher.incr(key(room)),
    leave: (room) => publisher.decr(key(room)),
  };
}

http.listen({ host, port: Number(port), backlog: 4096 }, () => console.log('listening'));
