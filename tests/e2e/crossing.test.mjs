// A client that is cut on one transport and resumes over another one with its cursor, as behind a
// proxy that passes only some of them: one log is under all of them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDemo } from './lib/demo.mjs';
import { openSocket, TRAVEL } from './lib/socketio.mjs';
import { openSse } from './lib/sse.mjs';
import { unique } from './lib/wait.mjs';
import { openWs } from './lib/ws.mjs';

/** The transports with their clients, which name user and rooms alike. */
const TRANSPORTS = {
  sse: (who) => openSse(demo, who),
  ws: (who) => openWs(demo, who),
  socket: ({ channels, ...who }) => openSocket(demo, { ...who, rooms: channels }, TRAVEL.websocket),
};
const NAMES = Object.keys(TRANSPORTS);
const PAIRS = NAMES.flatMap((from) => NAMES.filter((to) => to !== from).map((to) => [from, to]));

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

/** Sends over all transports with one record. */
async function sendOverAll(target, event, data) {
  const { status, body } = await demo.request('POST', '/api/send', { target, event, data });
  assert.equal(status, 200, JSON.stringify(body));
}

/** Sends over all transports to the user, the room and everyone, and over each one to the user. */
async function round({ user, channels: [room] }, name) {
  await sendOverAll({ user }, 'news', `${name}: to the user`);
  for (const provider of NAMES) await demo.send(provider, { user }, 'news', `${name}: over ${provider}`);
  await sendOverAll({ room }, 'news', `${name}: to the room`);
  await sendOverAll('all', 'news', `${name}: to everyone`);
}

/** Returns the events of a round for a client that is connected over this transport. */
const expectedOf = (name, over) =>
  ['to the user', `over ${over}`, 'to the room', 'to everyone'].map((what) => `${name}: ${what}`);

const newsOf = (client, name) => client.inbox.items.filter((i) => i.event === 'news' && `${i.data}`.startsWith(`${name}: `));

for (const [from, to] of PAIRS) {
  test(`crossing: ${from} to ${to} loses and repeats nothing`, async () => {
    const who = { user: unique('alice'), tenant: unique('acme'), channels: [unique('room')] };
    // Unique, since other tests run at the same time.
    const [first, missed, live] = ['first', 'missed', 'live'].map(unique);
    const ends = (name) => (i) => i.data === `${name}: to everyone`;

    const one = await TRANSPORTS[from](who);
    await round(who, first);
    await one.inbox.next(ends(first), 'the first round');
    assert.deepEqual(newsOf(one, first).map((i) => i.data), expectedOf(first, from));
    const last = one.inbox.items.at(-1).cursor;
    one.close();

    await round(who, missed);
    const two = await TRANSPORTS[to]({ ...who, lastEventId: last });
    try {
      const { resumed, reason, cursor } = two.connected.data;
      assert.deepEqual({ resumed, reason, cursor }, { resumed: true, reason: 'resumed', cursor: last });
      await round(who, live);
      await two.inbox.next(ends(live), 'the last round');
      const got = two.inbox.items.filter((i) => i.event === 'news' && [first, missed, live].some((name) => `${i.data}`.startsWith(name)));
      assert.deepEqual(got.map((i) => i.data), [...expectedOf(missed, to), ...expectedOf(live, to)]);
      assert.equal(new Set(got.map((i) => i.cursor)).size, got.length, 'each has a cursor of its own');
    } finally {
      two.close();
    }
  });
}

test('crossing: all transports in turn deliver each event once', async () => {
  const who = { user: unique('alice'), channels: [] };
  const got = [];
  let cursor;
  let sent = 0;
  const send = async (count) => {
    for (const end = sent + count; sent < end; sent += 1) await sendOverAll({ user: who.user }, 'news', sent);
  };
  for (const name of [...NAMES, ...NAMES].concat(NAMES[0])) {
    const client = await TRANSPORTS[name]({ ...who, lastEventId: cursor });
    assert.equal(client.connected.data.resumed, cursor !== undefined);
    await send(3);
    await client.inbox.next((i) => i.data === sent - 1, `event ${sent - 1} over ${name}`);
    got.push(...client.inbox.items.filter((i) => i.event === 'news').map((i) => i.data));
    cursor = client.inbox.items.at(-1).cursor;
    client.close();
    await send(2);
  }
  // The last two were sent after the last client had left.
  assert.deepEqual(got, Array.from({ length: sent - 2 }, (_, n) => n));
});

test('crossing: user on all transports gets an event once on each', async () => {
  const who = { user: unique('alice'), channels: [] };
  const clients = await Promise.all(NAMES.map((name) => TRANSPORTS[name](who)));
  try {
    for (let n = 0; n < 5; n += 1) await sendOverAll({ user: who.user }, 'news', n);
    await sendOverAll({ user: who.user }, 'sentinel', 'end');
    const cursors = await Promise.all(clients.map(async ({ inbox }) => {
      await inbox.next((i) => i.event === 'sentinel', 'the end');
      const news = inbox.items.filter((i) => i.event === 'news');
      assert.deepEqual(news.map((i) => i.data), [0, 1, 2, 3, 4]);
      return news.map((i) => i.cursor);
    }));
    // One record: its cursor is the same over each of them.
    assert.deepEqual(cursors[1], cursors[0]);
    assert.deepEqual(cursors[2], cursors[0]);
  } finally {
    clients.forEach((client) => client.close());
  }
});
