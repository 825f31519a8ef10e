// Socket.IO with the official client's default transports, behind proxies that accept websockets
// and do not carry them: the session stays on long polling.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDemo } from './lib/demo.mjs';
import { halfwayProxy, WAYS } from './lib/halfway.mjs';
import { openSocket, TRAVEL } from './lib/socketio.mjs';
import { unique, until } from './lib/wait.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

for (const [title, way] of Object.entries(WAYS)) {
  test(`probe: websocket that ${title}`, async () => {
    const proxy = await halfwayProxy(demo, way);
    const user = unique('alice');
    // Would reconnect if it were ever disconnected.
    const client = await openSocket(proxy, { user }, TRAVEL.upgrade, { reconnection: true, reconnectionDelay: 10 });
    const counts = { connects: 1, disconnects: 0 };
    client.socket.on('connect', () => { counts.connects += 1; });
    client.socket.on('disconnect', () => { counts.disconnects += 1; });
    try {
      await until(() => proxy.websockets === 1, 'the websocket');
      let n = 0;
      const begun = Date.now();
      // Some probes time out after 10 s only.
      await until(async () => {
        await demo.send('socket', { user }, 'news', n);
        assert.equal(await client.ask('echo', n), n);
        n += 1;
        await new Promise((resolve) => setTimeout(resolve, 80));
        return proxy.closed === 1;
      }, 'the end of the websocket', 20_000);
      const seconds = (Date.now() - begun) / 1000;
      await demo.send('socket', { user }, 'news', n);
      assert.equal(await client.ask('echo', 'after'), 'after');
      const got = await client.inbox.collect(n + 1, (i) => i.event === 'news', `${n + 1} events`);
      assert.deepEqual(got.map((i) => i.data), Array.from({ length: n + 1 }, (_, i) => i));
      assert.deepEqual(counts, { connects: 1, disconnects: 0 });
      assert.equal(client.transport, 'polling');
      // Those that bring something (events, echoes, a ping), and a noop every 100 ms at most.
      assert.ok(proxy.gets <= 2 * n + 10 * seconds + 10, `${proxy.gets} GETs in ${seconds} s for ${n} events and echoes`);
    } finally {
      client.close();
      proxy.close();
    }
  });
}
