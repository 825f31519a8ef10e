// The limits before a connection, with the official client: after those that free themselves a
// client connects by itself, or is notified when to try again.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startDemo } from './lib/demo.mjs';
import { dial, openSocket, refusedSocket, TRAVEL } from './lib/socketio.mjs';
import { unique, until, within } from './lib/wait.mjs';

async function withDemo(args, body) {
  const demo = await startDemo(...args);
  try {
    await body(demo);
  } finally {
    await demo.stop();
  }
}

/** Connects as often as is accepted, and returns the answer that is a refusal. */
const refusal = (demo, path) => until(async () => {
  const answer = await fetch(`${demo.url}${path}`);
  if (answer.status !== 200) return answer;
  await answer.body.cancel();
  return null;
}, 'a refusal');

for (const [name, transports] of Object.entries(TRAVEL)) {
  test(`socket.io over ${name}: clients above the rate get in by themselves`, () => withDemo(
    ['--handshakes-per-address', '1'],
    async (demo) => {
      const answer = await refusal(demo, `/sse?user=${unique('eve')}`);
      assert.deepEqual([answer.status, answer.headers.get('retry-after')], [429, '1']);
      assert.equal((await answer.json()).error.code, 'handshake_rate');
      const clients = Array.from({ length: 4 }, () => dial(demo, { user: unique('ann') }, transports, { reconnection: true }));
      try {
        const met = clients.map(({ socket }) => new Promise((resolve) => socket.on('connected', resolve)));
        await within(Promise.all(met), () => 'all connections', 60_000);
      } finally {
        for (const client of clients) client.close();
      }
    },
  ));
}

test('socket.io: a tenant at its limit learns when to try again', () => withDemo(
  ['--connections-per-tenant', '1', '--handshakes-per-second', '1000'],
  async (demo) => {
    const inside = await openSocket(demo, { user: 'ann', tenant: 'acme' });
    const error = await refusedSocket(demo, { user: 'bob', tenant: 'acme' });
    assert.match(error.message, /^tenant_limit: /);
    assert.ok(error.data.code === 'tenant_limit' && error.data.retryAfterMs >= 5000, JSON.stringify(error.data));
    const other = await openSocket(demo, { user: 'bob', tenant: 'globex' });
    other.close();
    inside.close();
    await until(async () => {
      const client = dial(demo, { user: 'bob', tenant: 'acme' });
      const met = new Promise((resolve) => client.socket.on('connected', () => resolve(true)));
      const accepted = await Promise.race([met, client.refused.then(() => false)]);
      client.close();
      return accepted;
    }, 'the slot');
  },
));

test('an address at its limit is refused over all transports', () => withDemo(
  ['--connections-per-address', '1'],
  async (demo) => {
    const inside = await openSocket(demo, { user: 'ann' });
    for (const path of ['/sse?user=bob', '/socket.io/?EIO=4&transport=polling']) {
      const answer = await fetch(`${demo.url}${path}`);
      assert.equal(answer.status, 429, path);
      assert.equal((await answer.json()).error.code, 'address_limit');
      assert.ok(Number(answer.headers.get('retry-after')) >= 5);
    }
    inside.close();
  },
));
