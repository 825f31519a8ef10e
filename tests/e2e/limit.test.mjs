// Socket.IO at the limit of a user's connections, with the official client: a limit that frees
// itself is not final, dead connections make room, and no client retries too often.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDemo } from './lib/demo.mjs';
import { dial, openSocket, TRAVEL } from './lib/socketio.mjs';
import { vanishingProxy } from './lib/vanishing.mjs';
import { unique, until, within } from './lib/wait.mjs';

/** Connections of one user, and seconds that one more waits (the defaults). */
const LIMIT = 10;
const WAIT = 10;

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

const times = (count, make) => Array.from({ length: count }, make);

/** A client that reconnects by itself, and notes its errors and when it opened a session. */
function reconnecting(user, transports) {
  const client = dial(demo, { user }, transports, { reconnection: true });
  const seen = { opens: [], errors: [], disconnects: [] };
  client.socket.io.on('open', () => seen.opens.push(Date.now()));
  client.socket.on('connect_error', (error) => seen.errors.push(error));
  client.socket.on('disconnect', (reason) => seen.disconnects.push(reason));
  client.met = new Promise((resolve) => client.socket.on('connected', resolve));
  return Object.assign(client, seen);
}

for (const [name, transports] of Object.entries(TRAVEL)) {
  const check = (title, body) => test(`socket.io over ${name}: ${title}`, async () => {
    const clients = [];
    const keep = (client) => { clients.push(client); return client; };
    try {
      await body(unique('alice'), keep);
    } finally {
      for (const client of clients) client.close();
    }
  });
  const open = (at, user) => openSocket(at, { user }, transports);

  for (const [gone, fresh] of [[6, 6], [LIMIT, 1]]) {
    check(`${gone} vanished tabs make room for ${fresh} new ones`, async (user, keep) => {
      const proxy = keep(await vanishingProxy(demo));
      (await Promise.all(times(gone, () => open(proxy, user)))).forEach(keep);
      proxy.vanish();
      const begun = Date.now();
      const clients = times(fresh, () => keep(reconnecting(user, transports)));
      await within(Promise.all(clients.map((client) => client.met)), () => 'all connections', 10_000);
      for (const client of clients) {
        assert.deepEqual([client.errors, client.disconnects, client.opens.length], [[], [], 1]);
        assert.ok(client.socket.active && client.socket.connected);
      }
      const { delivered } = await demo.send('socket', { user }, 'news', 'here');
      assert.ok(delivered.matched <= LIMIT, `${delivered.matched} connections`);
      await Promise.all(clients.map((client) => client.next('news')));
      assert.ok(Date.now() - begun < 10_000, `${Date.now() - begun} ms`);
    });
  }

  check('two of twelve wait, and get the slots of those that leave', async (user, keep) => {
    const inside = await Promise.all(times(LIMIT, () => open(demo, user)));
    inside.forEach(keep);
    const waiting = times(2, () => keep(reconnecting(user, transports)));
    await until(() => waiting.every((client) => client.opens.length === 1), 'the sessions');
    const begun = Date.now();
    await until(async () => {
      for (const client of inside) assert.equal(await client.ask('echo', 1), 1);
      assert.deepEqual(waiting.map((client) => client.socket.connected), [false, false]);
      return Date.now() - begun > 3000;
    }, 'the time after which a dead one would be gone');
    inside[0].close();
    await within(Promise.race(waiting.map((client) => client.met)), () => 'the first slot');
    inside[1].close();
    await within(Promise.all(waiting.map((client) => client.met)), () => 'the second slot');
    for (const client of waiting) assert.deepEqual([client.errors, client.disconnects, client.opens.length], [[], [], 1]);
    for (const client of inside.slice(2)) assert.equal(await client.ask('echo', 2), 2);
  });

  check('client without a slot reconnects slowly until it gets one', async (user, keep) => {
    const inside = await Promise.all(times(LIMIT, () => open(demo, user)));
    inside.forEach(keep);
    const client = keep(reconnecting(user, transports));
    await until(() => client.opens.length === 2, 'the second session', (WAIT + 10) * 1000);
    assert.ok(client.opens[1] - client.opens[0] >= WAIT * 1000, `after ${client.opens[1] - client.opens[0]} ms`);
    assert.ok(client.socket.active);
    inside[0].close();
    await within(client.met, () => 'a slot');
    assert.deepEqual([client.errors, client.opens.length, client.disconnects.length], [[], 2, 1]);
    // The client has kept it until it was connected.
    const error = client.inbox.items.find((item) => item.event === 'error');
    assert.equal(error?.data.code, 'user_limit');
  });

  check('client that cannot wait gets a time to retry after', async (user, keep) => {
    const inside = await Promise.all(times(LIMIT, () => open(demo, user)));
    inside.forEach(keep);
    const waiting = times(LIMIT + 1, () => keep(reconnecting(user, transports)));
    const [refused] = await until(() => {
      const refused = waiting.filter((client) => client.errors.length > 0);
      return refused.length > 0 && refused;
    }, 'a refusal');
    const [error] = refused.errors;
    assert.match(error.message, /^user_limit: /);
    assert.equal(error.data.code, 'user_limit');
    assert.ok(error.data.retryAfterMs >= 5000 && error.data.retryAfterMs <= 10_000, error.data.retryAfterMs);
    assert.equal(refused.socket.active, false);
    const others = waiting.filter((client) => client !== refused);
    assert.deepEqual(others.flatMap((client) => client.errors), []);
    [...inside, ...others].forEach((client) => client.close());
    // As the documentation has it.
    setTimeout(() => refused.socket.connect(), error.data.retryAfterMs);
    await within(refused.met, () => 'a slot');
  });
}
