// A node of the official Socket.IO server with one of its Redis adapters, as their documentation
// shows it. The argument is JSON: `adapter`, and `redis`, the URL. Its addresses are the first line
// it prints; of the commands of the control port it knows `steady`.

import { createServer } from 'node:http';
import { createServer as createControl } from 'node:net';
import { createInterface } from 'node:readline';
import { createAdapter as createPubSub } from '@socket.io/redis-adapter';
import { createAdapter as createStreams } from '@socket.io/redis-streams-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

/** A text as long as a cursor: as many bytes are sent as by the servers that it is compared with. */
const ID = 'AgFdG7_mlwdnoAAAAAAAAAABAAAAAYb3p0d1Q2kzX1mWq8sT5u';

const options = JSON.parse(process.argv[2]);
process.stdin.resume().once('end', () => process.exit(0));

const adapters = {
  async pubsub(client) {
    const subscriber = client.duplicate();
    await subscriber.connect();
    return createPubSub(client, subscriber);
  },
  async streams(client) {
    return createStreams(client);
  },
};

async function listen(server) {
  await new Promise((resolve) => { server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, resolve); });
  return `127.0.0.1:${server.address().port}`;
}

/** Returns a function that returns the microseconds of the machine's clock, which are finer than `Date`. */
function clock() {
  const start = Date.now();
  while (Date.now() === start);
  const offset = BigInt(Date.now()) * 1000n - process.hrtime.bigint() / 1000n;
  return () => Number(process.hrtime.bigint() / 1000n + offset);
}

/** Emits events at a steady rate, to one user after the other or to everyone. */
function steady(io, { count, rate, size, users }) {
  const now = clock();
  const pad = 'x'.repeat(Math.max(0, size - 32));
  const start = now();
  let emitted = 0;
  return new Promise((resolve) => {
    const tick = setInterval(() => {
      const due = Math.min(count, Math.floor((now() - start) * rate / 1e6));
      for (; emitted < due; emitted += 1) {
        const to = users === null ? io : io.to(`user-${emitted % users}`);
        to.emit('tick', { at: now(), pad }, ID);
      }
      if (emitted === count) {
        clearInterval(tick);
        resolve({ published: emitted, report: null });
      }
    }, 1);
  });
}

async function obey(io, command) {
  if (command.do !== 'steady') return { Err: `no command of this server: ${command.do}` };
  return { Ok: await steady(io, command) };
}

const client = createClient({ url: options.redis });
await client.connect();
const server = createServer();
const io = new Server(server, { adapter: await adapters[options.adapter](client) });
io.on('connection', (socket) => {
  if (socket.handshake.query.user) socket.join(socket.handshake.query.user);
  socket.emit('connected', {});
});
const control = createControl((socket) => {
  socket.setNoDelay(true).on('error', () => {});
  createInterface({ input: socket }).on('line', async (line) => {
    socket.write(`${JSON.stringify(await obey(io, JSON.parse(line)))}\n`);
  });
});
console.log(JSON.stringify({ http: await listen(server), control: await listen(control) }));
