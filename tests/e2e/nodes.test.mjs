// Two demos that share one Redis or NATS behave as one: what one sends reaches the clients of the
// other, and a client resumes at the one that is left.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { documentedSocket, documentedSse, documentedWs } from './lib/documented.mjs';
import { keep, keptDemo } from './lib/keep.mjs';
import { readyRelay, watchReady } from './lib/relay.mjs';
import { TRAVEL } from './lib/socketio.mjs';
import { startNats, startRedis } from './lib/stores.mjs';
import { unique, until, within } from './lib/wait.mjs';

const KINDS = {
  sse: documentedSse,
  ws: documentedWs,
  'socket.io over websocket': (at, user) => documentedSocket(at, user, TRAVEL.websocket),
  'socket.io over polling': (at, user) => documentedSocket(at, user, TRAVEL.polling),
};

const STORES = { redis: startRedis, nats: startNats };

for (const [store, signal] of Object.keys(STORES).flatMap((store) => ['SIGTERM', 'SIGKILL'].map((signal) => [store, signal]))) {
  test(`nodes: clients resume at the other node of one ${store} after ${signal}`, async () => {
    const { url } = keep(await STORES[store]());
    const [first, second] = await Promise.all([1, 2].map(() => keptDemo(`--${store}`, url)));
    const watch = keep(await watchReady(first, second));
    const user = unique('ann');
    const clients = await Promise.all(Object.entries(KINDS).map(async ([name, start]) => (
      { name, client: keep(start(keep(await readyRelay(watch)), user)) })));
    const welcomed = (count) => until(() => clients.every(({ client }) => client.seen.welcomes.length >= count), `${count} welcomes each`, 60_000);
    const got = (count) => until(() => clients.every(({ client }) => client.seen.news.length >= count), `${count} news each`);
    const send = async (data) => {
      const { status } = await second.request('POST', '/api/send', { target: { room: 'board' }, event: 'news', data });
      assert.equal(status, 200);
    };
    await welcomed(1);
    // The clients are connected to the first node, and the second one joins their user and sends.
    await second.join(user, 'board');
    await send('1');
    await got(1);
    first.child.kill(signal);
    await within(first.exited, () => 'the end of the first demo');
    await send('2');
    await send('3');
    await welcomed(2);
    await got(3);
    for (const { name, client } of clients) {
      assert.deepEqual(client.seen.news, ['1', '2', '3'], name);
      assert.deepEqual(client.seen.welcomes.map(({ resumed, reason }) => [resumed, reason]), [[false, 'new'], [true, 'resumed']], name);
    }
  });
}
