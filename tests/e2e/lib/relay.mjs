// One port in front of several demos, as any load balancer: a connection goes to the first that
// says it is ready, and one whose first request names an Engine.IO session to the demo that opened
// it ("sticky sessions", which long polling needs).

import { startRelay } from './tcp.mjs';
import { until } from './wait.mjs';

/**
 * The interval between two readiness probes, in milliseconds: well within the 100 before a client
 * reconnects.
 */
const PROBE_MS = 25;

/** Probes the readiness of the demos again and again; `ready` is the first that is ready. */
export async function watchReady(...demos) {
  const watch = { ready: null, close: () => { clearTimeout(next); closed = true; } };
  let next;
  let closed = false;
  const probe = async () => {
    watch.ready = await firstReady(demos);
    if (!closed) next = setTimeout(probe, PROBE_MS);
  };
  await probe();
  await until(() => watch.ready, 'a demo that is ready');
  return watch;
}

/** Starts a relay; use the result in place of a demo when opening a client. */
export async function readyRelay(watch) {
  const owners = new Map();
  const links = [];
  const relay = await startRelay((client, dial) => {
    client.on('error', () => client.destroy());
    client.once('data', (head) => {
      const [, sid] = /^\S+ \S*[?&]sid=([\w-]+)/.exec(head.toString('latin1')) ?? [];
      const demo = owners.get(sid) ?? watch.ready;
      if (!demo) return client.destroy();
      const upstream = dial(demo);
      const link = { demo, opened: Date.now(), lastBytes: null, tail: '' };
      links.push(link);
      upstream.on('data', (chunk) => {
        link.lastBytes = Date.now();
        link.tail = (link.tail + chunk.toString('latin1')).slice(-500);
        const [, opened] = /"sid":"([\w-]+)"/.exec(link.tail) ?? [];
        if (opened) owners.set(opened, demo);
      });
      upstream.on('error', () => client.destroy());
      upstream.once('close', () => client.destroySoon());
      client.once('close', () => upstream.destroySoon());
      upstream.write(head);
      client.pipe(upstream);
      upstream.pipe(client);
      return undefined;
    });
  });
  return Object.assign(relay, {
    /**
     * Every connection so far, in order: `{demo, opened, lastBytes, tail}`; the last two are the
     * demo's last bytes, and when.
     */
    links,
  });
}

async function firstReady(demos) {
  for (const demo of demos) {
    try {
      if ((await demo.request('GET', '/readyz')).status === 200) return demo;
    } catch { /* does not answer */ }
  }
  return null;
}
