// A client that is cut on one transport and goes on over another one with its place, as behind a proxy that lets only some
// of them through: one log lies under all of them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDemo } from './lib/demo.mjs';
import { openSocket, TRAVEL } from './lib/socketio.mjs';
import { openSse } from './lib/sse.mjs';
import { unique } from './lib/wait.mjs';
import { openWs } from './lib/ws.mjs';

/** Each transport with its client; what a client names again is the same for all of them. */
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

/** Sends over all transports at once. */
async function sendOverAll(target, event, data) {
  const { status, body } = await demo.request('POST', '/api/send', { target, event, data });
  assert.equal(status, 200, JSON.stringify(body));
}

/** A round of what a client may be sent: over all transports to its user, its room and everyone, and over each one alone. */
async function round({ user, channels: [room] }, name) {
  await sendOverAll({ user }, 'news', `${name}: to the user`);
  for (const provider of NAMES) await demo.send(provider, { user }, 'news', `${name}: over ${provider}`);
  await sendOverAll({ room }, 'news', `${name}: to the room`);
  await sendOverAll('all', 'news', `${name}: to everyone`);
}

/** What of a round a client is sent that is connected over this transport when it has the round's place. */
const heardOf = (name, over) =>
  ['to the user', `over ${over}`, 'to the room', 'to everyone'].map((what) => `${name}: ${what}`);

const newsOf = (client, name) => client.inbox.items.filter((i) => i.event === 'news' && `${i.data}`.startsWith(`${name}: `));

for (const [from, to] of PAIRS) {
  test(`crossing: cut over ${from} and back over ${to}, nothing is lost or comes twice`, async () => {
    const who = { user: unique('alice'), tenant: unique('acme'), channels: [unique('room')] };
    // What others do at the same time has other names.
    const [first, missed, live] = ['first', 'missed', 'live'].map(unique);
    const ends = (name) => (i) => i.data === `${name}: to everyone`;

    const one = await TRANSPORTS[from](who);
    await round(who, first);
    await one.inbox.next(ends(first), 'the first round');
    assert.deepEqual(newsOf(one, first).map((i) => i.data), heardOf(first, from));
    const place = one.inbox.items.at(-1).cursor;
    one.close();

    await round(who, missed);
    const two = await TRANSPORTS[to]({ ...who, lastEventId: place });
    try {
      const { resumed, reason, cursor } = two.connected.data;
      assert.deepEqual({ resumed, reason, cursor }, { resumed: true, reason: 'resumed', cursor: place });
      await round(who, live);
      await two.inbox.next(ends(live), 'the last round');
      const heard = two.inbox.items.filter((i) => i.event === 'news' && [first, missed, live].some((name) => `${i.data}`.startsWith(name)));
      assert.deepEqual(heard.map((i) => i.data), [...heardOf(missed, to), ...heardOf(live, to)]);
      assert.equal(new Set(heard.map((i) => i.cursor)).size, heard.length, 'each has a place of its own');
    } finally {
      two.close();
    }
  });
}

test('crossing: a client that goes round all transports has each event once, in order', async () => {
  const who = { user: unique('alice'), channels: [] };
  const heard = [];
  let place;
  let sent = 0;
  const send = async (count) => {
    for (const end = sent + count; sent < end; sent += 1) await sendOverAll({ user: who.user }, 'news', sent);
  };
  for (const name of [...NAMES, ...NAMES].concat(NAMES[0])) {
    const client = await TRANSPORTS[name]({ ...who, lastEventId: place });
    assert.equal(client.connected.data.resumed, place !== undefined);
    await send(3);
    await client.inbox.next((i) => i.data === sent - 1, `event ${sent - 1} over ${name}`);
    heard.push(...client.inbox.items.filter((i) => i.event === 'news').map((i) => i.data));
    place = client.inbox.items.at(-1).cursor;
    client.close();
    await send(2);
  }
  // The last two were sent when nobody was there any more.
  assert.deepEqual(heard, Array.from({ length: sent - 2 }, (_, n) => n));
});

test('crossing: a user on all transports at once hears what is sent over all of them once on each', async () => {
  const who = { user: unique('alice'), channels: [] };
  const clients = await Promise.all(NAMES.map((name) => TRANSPORTS[name](who)));
  try {
    for (let n = 0; n < 5; n += 1) await sendOverAll({ user: who.user }, 'news', n);
    await sendOverAll({ user: who.user }, 'sentinel', 'end');
    const places = await Promise.all(clients.map(async ({ inbox }) => {
      await inbox.next((i) => i.event === 'sentinel', 'the end');
      const news = inbox.items.filter((i) => i.event === 'news');
      assert.deepEqual(news.map((i) => i.data), [0, 1, 2, 3, 4]);
      return news.map((i) => i.cursor);
    }));
    // One record: its place is the same over each of them.
    assert.deepEqual(places[1], places[0]);
    assert.deepEqual(places[2], places[0]);
  } finally {
    clients.forEach((client) => client.close());
  }
});
