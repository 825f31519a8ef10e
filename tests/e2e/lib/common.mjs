// The behaviour of every transport, tested once. Each transport's file runs it with its own
// clients.
//
// `open(demo, {user, tenant, channels})` resolves with a client that has read `connected`: it has
// `connected`, an `inbox` of `{event, data, cursor}`, and `close()`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pipeline } from './burst.mjs';
import { slowProxy } from './proxy.mjs';
import { unique, until } from './wait.mjs';

const CURSOR = /^[A-Za-z0-9_-]{1,256}$/;
const isNews = (item) => item.event === 'news';

/** Waits for the sentinel and returns the news before it: silence is proven, not waited for. */
async function newsSoFar(client, sentinel) {
  await client.inbox.collect(1, (i) => i.event === 'sentinel' && i.data === sentinel, `the sentinel ${sentinel}`);
  return client.inbox.items.filter(isNews).map((i) => i.data);
}

/** Declares the tests of one transport. */
export function addressing(name, provider, open, demo) {
  const clients = [];
  const dial = async (who, at = demo()) => {
    const client = await open(at, who);
    clients.push(client);
    return client;
  };
  const check = (title, body) => test(`${name}: ${title}`, async () => {
    try {
      await body();
    } finally {
      while (clients.length) clients.pop().close();
    }
  });
  const sentinel = async () => {
    const mark = unique('mark');
    await demo().send(provider, 'all', 'sentinel', mark);
    return mark;
  };
  const tools = { check, dial, demo, provider, sentinel };
  targets(tools);
  contents(tools);
  extras(tools);
  bursts(tools);
}

/** Declares the tests of the welcome and of targets. */
function targets({ check, dial, demo, provider, sentinel }) {
  check('connected comes first and says who and where', async () => {
    const client = await dial({ user: unique('alice'), tenant: unique('acme') });
    assert.equal(client.inbox.items[0].event, 'connected');
    const { message, connectionId, resumed, reason, cursor } = client.connected.data;
    assert.equal(typeof message, 'string');
    assert.match(connectionId, /^\S+$/);
    assert.equal(resumed, false);
    assert.equal(reason, 'new');
    assert.match(cursor, CURSOR);
  });

  check('user event reaches exactly the connections of that user', async () => {
    const [alice, bob] = [unique('alice'), unique('bob')];
    const tenant = unique('acme');
    const [one, two, other] = await Promise.all([alice, alice, bob].map((user) => dial({ user, tenant })));
    const receipt = await demo().send(provider, { user: alice }, 'news', { n: 1 });
    assert.equal(typeof receipt.id, 'string');
    assert.equal(typeof receipt.position, 'number');
    assert.deepEqual(receipt.delivered, { matched: 2, queued: 2, dropped: 0 });
    const mark = await sentinel();
    assert.deepEqual(await newsSoFar(one, mark), [{ n: 1 }]);
    assert.deepEqual(await newsSoFar(two, mark), [{ n: 1 }]);
    assert.deepEqual(await newsSoFar(other, mark), []);
  });

  check('tenant event reaches its users and no other tenant', async () => {
    const [acme, globex] = [unique('acme'), unique('globex')];
    const one = await dial({ user: unique('a'), tenant: acme });
    const two = await dial({ user: unique('b'), tenant: acme });
    const other = await dial({ user: unique('c'), tenant: globex });
    const none = await dial({ user: unique('d') });
    const receipt = await demo().send(provider, { tenant: acme }, 'news', 'tenant');
    assert.equal(receipt.delivered.matched, 2);
    const mark = await sentinel();
    assert.deepEqual(await newsSoFar(one, mark), ['tenant']);
    assert.deepEqual(await newsSoFar(two, mark), ['tenant']);
    assert.deepEqual(await newsSoFar(other, mark), []);
    assert.deepEqual(await newsSoFar(none, mark), []);
  });

  check('room event reaches its members only', async () => {
    const [red, blue] = [unique('red'), unique('blue')];
    const both = await dial({ user: unique('a'), channels: [red, blue] });
    const one = await dial({ user: unique('b'), channels: [blue] });
    const none = await dial({ user: unique('c') });
    await demo().send(provider, { room: red }, 'news', 'red');
    await demo().send(provider, { room: blue }, 'news', 'blue');
    const mark = await sentinel();
    assert.deepEqual(await newsSoFar(both, mark), ['red', 'blue']);
    assert.deepEqual(await newsSoFar(one, mark), ['blue']);
    assert.deepEqual(await newsSoFar(none, mark), []);
  });

  check('event to all reaches all', async () => {
    const one = await dial({ user: unique('a'), tenant: unique('x') });
    const two = await dial({ user: unique('b') });
    await demo().send(provider, 'all', 'news', 'everybody');
    const mark = await sentinel();
    assert.ok((await newsSoFar(one, mark)).includes('everybody'));
    assert.ok((await newsSoFar(two, mark)).includes('everybody'));
  });
}

/** Declares the tests of rooms, cursors and contents. */
function contents({ check, dial, demo, provider, sentinel }) {
  check('joined user gets room events on all connections until left', async () => {
    const [user, room] = [unique('alice'), unique('room')];
    const before = await dial({ user });
    await demo().join(user, room);
    assert.deepEqual((await demo().rooms(user))[provider], [room]);
    const later = await dial({ user });
    await demo().send(provider, { room }, 'news', 'in');
    await demo().leave(user, room);
    assert.deepEqual((await demo().rooms(user))[provider], []);
    await demo().send(provider, { room }, 'news', 'out');
    const mark = await sentinel();
    assert.deepEqual(await newsSoFar(before, mark), ['in']);
    assert.deepEqual(await newsSoFar(later, mark), ['in']);
  });

  check('every event carries a unique cursor, equal for all receivers', async () => {
    const user = unique('alice');
    const [one, two] = await Promise.all([dial({ user }), dial({ user })]);
    for (const n of [1, 2, 3]) await demo().send(provider, { user }, 'news', n);
    const cursors = (await one.inbox.collect(3, isNews)).map((i) => i.cursor);
    for (const cursor of cursors) assert.match(cursor, CURSOR);
    assert.equal(new Set([one.connected.data.cursor, ...cursors]).size, 4);
    assert.deepEqual((await two.inbox.collect(3, isNews)).map((i) => i.cursor), cursors);
  });

  check('any text arrives as it was sent', async () => {
    const user = unique('alice');
    const client = await dial({ user });
    const texts = ['', 'a\rb', 'a\nb', 'a\r\nb', '\n\n', '\r', ' leading', ':colon', 'data: x', '\u2028\u2029', 'nul\0', '☃ 𝄞',
      '"quoted\\"', 'event: fake\ndata: x\n\n'];
    const payloads = [...texts, null, 0, -1.5, true, [], {}, { deep: { er: [1, { x: null }] } }];
    for (const data of payloads) await demo().send(provider, { user }, 'news', data);
    const got = await client.inbox.collect(payloads.length, isNews);
    assert.deepEqual(got.map((i) => i.data), payloads);
  });

  check('event of 1 MiB arrives whole, and the next one after it', async () => {
    const user = unique('alice');
    const client = await dial({ user });
    // As JSON text in UTF-8 exactly the default maximum of Socket.IO.
    const large = 'äbc'.repeat(2 ** 17) + 'x'.repeat(2 ** 19 - 2);
    assert.equal(Buffer.byteLength(JSON.stringify(large)), 2 ** 20);
    await demo().send(provider, { user }, 'news', large);
    await demo().send(provider, { user }, 'news', 'after');
    const [first, second] = await client.inbox.collect(2, isNews);
    assert.equal(first.data.length, large.length);
    assert.ok(first.data === large, 'the large text differs');
    assert.equal(second.data, 'after');
  });

  check('names may be in any script, and hold spaces and signs', async () => {
    const [user, room] = [`${unique('Zoë ☃')}&x=1/..%2F?#`, `${unique('räum')} + %00 "'<>`];
    const client = await dial({ user, tenant: 'Größe & Co', channels: [room] });
    await demo().send(provider, { user }, 'ünï:cödé ☃', 1);
    await demo().send(provider, { room }, 'news', 2);
    const got = await client.inbox.collect(2, (i) => i.event !== 'connected');
    assert.deepEqual(got.map((i) => [i.event, i.data]), [['ünï:cödé ☃', 1], ['news', 2]]);
  });
}

/** Declares the tests of volatile events, repeats and counts. */
function extras({ check, dial, demo, provider, sentinel }) {
  check('volatile event arrives without a cursor', async () => {
    const user = unique('alice');
    const client = await dial({ user });
    await demo().send(provider, { user }, 'news', 'now', { volatile: true });
    const item = await client.inbox.next(isNews, 'the volatile event');
    assert.equal(item.data, 'now');
    assert.ok(!item.cursor || item.cursor === client.connected.data.cursor, `a volatile event has the cursor ${item.cursor}`);
  });

  check('same idempotency key sends once', async () => {
    const user = unique('alice');
    const client = await dial({ user });
    const idempotencyKey = unique('key');
    const first = await demo().send(provider, { user }, 'news', 'once', { idempotencyKey });
    const again = await demo().send(provider, { user }, 'news', 'once', { idempotencyKey });
    assert.equal(again.position, first.position);
    const mark = await sentinel();
    assert.deepEqual(await newsSoFar(client, mark), ['once']);
  });

  check('closed connection leaves the count', async () => {
    const user = unique('alice');
    const client = await dial({ user });
    const matched = async () => (await demo().send(provider, { user }, 'news', 0)).delivered.matched;
    assert.equal(await matched(), 1);
    client.close();
    await until(async () => (await matched()) === 0, 'the closed connection to be gone');
  });
}

/** Declares the tests of many events, and of a client that pauses. */
function bursts({ check, dial, demo, provider, sentinel }) {
  const numbered = (user, count, pad) => Array.from({ length: count }, (_, n) => (
    { provider, target: { user }, event: 'news', data: { n, pad } }));
  const assertInOrder = (items, count) => assert.deepEqual(
    items.filter(isNews).map((i) => i.data.n), Array.from({ length: count }, (_, n) => n));

  check('burst of 5,000 arrives in order, none lost', async () => {
    const user = unique('alice');
    const client = await dial({ user });
    assert.equal(await pipeline(demo(), '/api/send', numbered(user, 5000, 'x')), 5000);
    await client.inbox.collect(5000, isNews, '5,000 events', 60_000);
    const mark = await sentinel();
    await newsSoFar(client, mark);
    assertInOrder(client.inbox.items, 5000);
  });

  check('client that pauses reading loses nothing and delays no other', async () => {
    const user = unique('alice');
    const proxy = await slowProxy(demo());
    try {
      const stuck = await dial({ user }, proxy);
      const healthy = await dial({ user });
      proxy.setRate(0);
      assert.equal(await pipeline(demo(), '/api/send', numbered(user, 3000, 'x'.repeat(4000))), 3000);
      await healthy.inbox.collect(3000, isNews, '3,000 events while the other is stuck', 60_000);
      assert.ok(stuck.inbox.items.filter(isNews).length < 3000, 'the stuck client was not stuck');
      proxy.setRate(Infinity);
      await stuck.inbox.collect(3000, isNews, '3,000 events once it reads again', 60_000);
      assertInOrder(stuck.inbox.items, 3000);
      assertInOrder(healthy.inbox.items, 3000);
    } finally {
      proxy.close();
    }
  });
}
