// What the demo tells of its nodes, of their health, and of the users who are online.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keep, keptDemo } from './lib/keep.mjs';
import { until } from './lib/wait.mjs';
import { openWs } from './lib/ws.mjs';

const get = async (demo, path, status = 200) => {
  const answer = await demo.request('GET', path);
  assert.equal(answer.status, status, `${path}: ${JSON.stringify(answer.body)}`);
  return answer.body;
};

test('online: readyz tells the health of the named node', async () => {
  const demo = await keptDemo('--node', 'first');
  const health = await until(async () => {
    const said = await get(demo, '/readyz');
    return said.probeMs !== null && said;
  }, 'the first probe');
  assert.deepEqual([health.ready, health.error, health.node.name], [true, null, 'first']);
  assert.ok(health.probeMs > 0);
});

test('online: users are listed in pages and counted, by tenant and room', async () => {
  const demo = await keptDemo('--node', 'first');
  const users = ['ann', 'bob', 'cat'];
  const clients = [];
  for (const user of users) clients.push(keep(await openWs(demo, { user, tenant: user === 'cat' ? 'other' : 'acme' })));
  await demo.join('ann', 'lobby');

  const all = await until(async () => {
    const said = await get(demo, '/api/online');
    return said.count.connections === 3 && said;
  }, 'three connections in the directory');
  assert.deepEqual(all.users.map(({ user }) => user), users);
  assert.deepEqual(all.count, { connections: 3, users: 3 });
  const names = async (query) => (await get(demo, `/api/online?${query}`)).users.map(({ user }) => user);
  assert.deepEqual(await names('most=2'), ['ann', 'bob']);
  assert.deepEqual(await names('after=bob&afterTenant=acme'), ['cat']);
  assert.deepEqual(await names('tenant=acme'), ['ann', 'bob']);
  assert.deepEqual(await names('room=lobby'), ['ann']);
  assert.equal((await get(demo, '/api/online?tenant=acme&room=lobby', 400)).error.code, 'invalid_query');

  const { online } = await get(demo, '/api/online?user=cat');
  assert.deepEqual(online.map(({ user, tenant, provider }) => [user, tenant, provider]), [['cat', 'other', 'ws']]);
  assert.deepEqual((await get(demo, '/api/online?user=cat&tenant=acme')).online, []);

  const { nodes, more } = await get(demo, '/api/nodes');
  assert.equal(more, false);
  assert.deepEqual(nodes.map(({ name, here }) => [name, here]), [['first', true]]);
  const listed = nodes[0].connections.map(({ connection, provider, user, tenant }) => [connection, provider, user, tenant]);
  const own = clients.map(({ connected }, at) => [connected.data?.connectionId ?? connected.payload.connectionId, 'ws', users[at], at === 2 ? 'other' : 'acme']);
  assert.deepEqual(listed.sort(), own.sort());
});
