// Clients on slow networks, all at the same time, because each takes long.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { pipeline } from './lib/burst.mjs';
import { startDemo } from './lib/demo.mjs';
import { slowProxy } from './lib/proxy.mjs';
import { openSocket, TRAVEL } from './lib/socketio.mjs';
import { openSse } from './lib/sse.mjs';
import { unique } from './lib/wait.mjs';
import { openWs } from './lib/ws.mjs';

const EVENTS = 5000;
const BYTES_PER_EVENT = 220; // about the longest of the encodings
const TRANSPORTS = {
  sse: openSse,
  ws: openWs,
  'socket.io over websocket': (at, who) => openSocket(at, who, TRAVEL.websocket),
  'socket.io over polling': (at, who) => openSocket(at, who, TRAVEL.polling),
  'socket.io over upgrade': (at, who) => openSocket(at, who, TRAVEL.upgrade),
};

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

test('slow: reader of 100 events a second gets all 5,000 in order', async (t) => {
  const user = unique('alice');
  const links = await Promise.all(Object.entries(TRANSPORTS).map(async ([name, open]) => {
    const proxy = await slowProxy(demo);
    return { name, proxy, client: await open(proxy, { user }) };
  }));
  try {
    for (const { proxy } of links) proxy.setRate(100 * BYTES_PER_EVENT);
    const pad = 'x'.repeat(150);
    assert.equal(await pipeline(demo, '/api/send', Array.from({ length: EVENTS }, (_, n) => (
      { provider: ['sse', 'ws', 'socket'], target: { user }, event: 'news', data: { n, pad } }))), EVENTS);
    await Promise.all(links.map(({ name, client }) => t.test(name, async () => {
      const isNews = (item) => item.event === 'news';
      await client.inbox.collect(EVENTS, isNews, `${EVENTS} events`, 180_000);
      assert.deepEqual(client.inbox.items.filter(isNews).map((i) => i.data.n), Array.from({ length: EVENTS }, (_, n) => n));
    })));
  } finally {
    for (const { client, proxy } of links) {
      client.close();
      proxy.close();
    }
  }
});
