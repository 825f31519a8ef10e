// Three demos on one Redis behind nginx and HAProxy, configured as docs/proxies/ says: every
// transport reaches them, and clients of nodes that are killed, or shut down, resume at the one that
// is left.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { documentedSocket, documentedSse, documentedWs } from './lib/documented.mjs';
import { keep, keptDemo } from './lib/keep.mjs';
import { program, startProxy } from './lib/proxies.mjs';
import { startRedis } from './lib/stores.mjs';
import { TRAVEL } from './lib/socketio.mjs';
import { unique, until, within } from './lib/wait.mjs';

const KINDS = {
  sse: documentedSse,
  ws: documentedWs,
  'socket.io over websocket': (at, user) => documentedSocket(at, user, TRAVEL.websocket),
  'socket.io over polling': (at, user) => documentedSocket(at, user, TRAVEL.polling),
};

const NAMES = ['one', 'two', 'three'];

/** The name of the node that has the newest connection of a client, by the directory. */
async function nodeOf(demo, { seen }) {
  const { connectionId } = seen.welcomes.at(-1);
  const { nodes } = (await demo.request('GET', '/api/nodes')).body;
  return nodes.find((node) => node.connections.some((one) => one.connection === connectionId))?.name;
}

for (const kind of ['nginx', 'haproxy']) {
  const skip = !program(kind) && `${kind} is not installed: scripts/setup installs it`;
  test(`proxies: every transport resumes behind ${kind} when nodes end`, { skip }, async () => {
    const redis = keep(await startRedis());
    const demos = await Promise.all(NAMES.map((name) => keptDemo('--redis', redis.url, '--node', name, '--hold', '1', '--drain', '1')));
    const proxy = keep(await startProxy(kind, demos));
    const user = unique('ann');
    const clients = Object.entries(KINDS).map(([name, start]) => ({ name, client: keep(start(proxy, user)) }));
    await until(() => clients.every(({ client }) => client.seen.welcomes.length > 0), 'a welcome each');
    const places = await Promise.all(clients.map(({ client }) => until(() => nodeOf(demos[0], client), 'the node of a client')));
    // The node that is left has the fewest of them, and not the one on long polling.
    const had = (name) => (name === places.at(-1) ? Infinity : places.filter((place) => place === name).length);
    const name = NAMES.toSorted((one, other) => had(one) - had(other))[0];
    const left = demos[NAMES.indexOf(name)];
    const send = async (data) => {
      const { status } = await left.request('POST', '/api/send', { target: { user }, event: 'news', data });
      assert.equal(status, 200);
    };
    const got = (count) => until(() => clients.every(({ client }) => client.seen.news.length >= count), `${count} news each`, 25_000);
    await send(1);
    await got(1);
    const ended = demos.filter((demo) => demo !== left);
    for (const [at, demo] of ended.entries()) demo.child.kill(['SIGKILL', 'SIGTERM'][at]);
    for (const demo of ended) await within(demo.exited, () => 'the end of a demo');
    await send(2);
    await send(3);
    await got(3);
    for (const [at, { name: kind, client }] of clients.entries()) {
      assert.deepEqual(client.seen.news, [1, 2, 3], kind);
      // From the node that is killed a client may come to the one that is about to shut down.
      const [first, ...later] = client.seen.welcomes.map(({ resumed }) => resumed);
      assert.equal(first, false, kind);
      assert.ok(later.every((resumed) => resumed), kind);
      assert.equal(later.length > 0, places[at] !== name, kind);
      await until(async () => await nodeOf(left, client) === name, `${kind} at the node that is left`);
    }
  });
}
