// One port in front of several demos, as any load balancer: a connection goes to the first that says it is ready, and one
// whose first request names an Engine.IO session to the demo that opened it ("sticky sessions", which long polling needs).

import net from 'node:net';
import { until } from './wait.mjs';

/** How often it is asked who is ready, in milliseconds: well within the 100 that a client waits before it comes back. */
const ASK = 25;

/** Asks the demos, over and over, whether they are ready; `ready` is the first that is. */
export async function watchReady(...demos) {
  const watch = { ready: null, close: () => { clearTimeout(next); closed = true; } };
  let next;
  let closed = false;
  const ask = async () => {
    watch.ready = await firstReady(demos);
    if (!closed) next = setTimeout(ask, ASK);
  };
  await ask();
  await until(() => watch.ready, 'a demo that is ready');
  return watch;
}

/** Starts a relay; use what it returns in place of a demo when opening a client. */
export async function readyRelay(watch) {
  const sockets = new Set();
  const owners = new Map();
  const links = [];
  const server = net.createServer((client) => {
    sockets.add(client);
    client.on('error', () => client.destroy());
    client.once('close', () => sockets.delete(client));
    client.once('data', (head) => {
      const [, sid] = /^\S+ \S*[?&]sid=([\w-]+)/.exec(head.toString('latin1')) ?? [];
      const demo = owners.get(sid) ?? watch.ready;
      if (!demo) return client.destroy();
      const upstream = net.connect(demo.port, '127.0.0.1');
      const link = { demo, opened: Date.now(), heard: null, tail: '' };
      links.push(link);
      sockets.add(upstream);
      upstream.on('data', (chunk) => {
        link.heard = Date.now();
        link.tail = (link.tail + chunk.toString('latin1')).slice(-500);
        const [, opened] = /"sid":"([\w-]+)"/.exec(link.tail) ?? [];
        if (opened) owners.set(opened, demo);
      });
      upstream.on('error', () => client.destroy());
      upstream.once('close', () => { sockets.delete(upstream); client.destroySoon(); });
      client.once('close', () => upstream.destroySoon());
      upstream.write(head);
      client.pipe(upstream);
      upstream.pipe(client);
      return undefined;
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    /** Every connection so far, in order: `{demo, opened, heard, tail}`; the last two are when the demo sent its last bytes, and these. */
    links,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

async function firstReady(demos) {
  for (const demo of demos) {
    try {
      if ((await demo.request('GET', '/readyz')).status === 200) return demo;
    } catch { /* it does not answer */ }
  }
  return null;
}
