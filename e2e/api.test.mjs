// The demo's HTTP interface: what it answers, and what it says of requests that cannot be.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startDemo } from './lib/demo.mjs';
import { openSocket } from './lib/socketio.mjs';
import { openSse } from './lib/sse.mjs';
import { unique, until } from './lib/wait.mjs';
import { openWs } from './lib/ws.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

const send = { provider: 'ws', target: { user: 'alice' }, event: 'news', data: 1 };

async function refused(method, path, body) {
  const answer = await demo.request(method, path, body);
  assert.equal(answer.status, 400, `${path} ${String(typeof body === 'string' ? body : JSON.stringify(body)).slice(0, 200)}`);
  assert.deepEqual(Object.keys(answer.body), ['error']);
  assert.match(answer.body.error.code, /^[A-Za-z][A-Za-z_-]*$/);
  assert.ok(answer.body.error.message.length > 3);
  return answer.body.error;
}

const NAMES_THAT_CANNOT_BE = {
  'an empty name': '',
  'a name of 257 bytes': 'x'.repeat(257),
  'a name of 129 two-byte letters': 'ä'.repeat(129),
  'a name with LF': 'a\nb',
  'a name with CR': 'a\rb',
  'a name with CRLF and a fake event': 'a\r\nevent: fake',
  'a name with NUL': 'a\0b',
  'a name with DEL': 'a\x7fb',
  'a number': 7,
  'null': null,
};

for (const [title, name] of Object.entries(NAMES_THAT_CANNOT_BE)) {
  test(`api: ${title} is refused everywhere`, async () => {
    await refused('POST', '/api/send', { ...send, event: name });
    await refused('POST', '/api/send', { ...send, target: { user: name } });
    await refused('POST', '/api/send', { ...send, target: { tenant: name } });
    await refused('POST', '/api/send', { ...send, target: { room: name } });
    await refused('POST', '/api/ask', { user: name, event: 'x', data: 1, timeoutMs: 100 });
    await refused('POST', '/api/ask', { room: name, event: 'x', data: 1, timeoutMs: 100 });
    await refused('POST', '/api/rooms/join', { user: name, room: 'r' });
    await refused('POST', '/api/rooms/join', { user: 'u', room: name });
    await refused('POST', '/api/rooms/leave', { user: 'u', room: name });
  });
}

test('api: names of 256 bytes are accepted', async () => {
  const name = 'x'.repeat(256);
  assert.equal((await demo.request('POST', '/api/send', { ...send, event: name, target: { user: name } })).status, 200);
});

test('api: reserved event names are refused, message and ping are not', async () => {
  for (const event of ['connected', 'cursor', 'lost', 'reconnect', 'error', 'open', 'ack', 'subscribe', 'unsubscribe', 'connect',
    'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']) {
    const error = await refused('POST', '/api/send', { ...send, event });
    assert.match(error.message, /reserved/);
  }
  for (const event of ['message', 'ping']) {
    assert.equal((await demo.request('POST', '/api/send', { ...send, event })).status, 200, event);
  }
});

test('api: an unknown provider is refused, and the known ones are named', async () => {
  const error = await refused('POST', '/api/send', { ...send, provider: 'pigeon' });
  for (const name of ['pigeon', 'sse', 'ws', 'socket']) assert.match(error.message, new RegExp(name));
  for (const provider of ['', 7, null, [], ['ws', 7], {}]) await refused('POST', '/api/send', { ...send, provider });
});

test('api: a target that cannot be is refused', async () => {
  for (const target of ['everybody', '', 7, null, [], {}, { user: 'a', room: 'b' }, { planet: 'x' }, { user: ['a'] }]) {
    await refused('POST', '/api/send', { ...send, target });
  }
});

test('api: a body that cannot be is refused', async () => {
  for (const path of ['/api/send', '/api/ask', '/api/rooms/join', '/api/rooms/leave']) {
    for (const body of ['', '{', 'hello', '[]', 'null', '7', '{}', '\ud800']) await refused('POST', path, body);
    await refused('POST', path, Buffer.from([0x7b, 0xff, 0x7d]));
    await refused('POST', path, `{"data":${'['.repeat(200)}${']'.repeat(200)}}`);
  }
  for (const field of ['provider', 'target', 'event']) {
    const { [field]: _, ...rest } = send;
    await refused('POST', '/api/send', rest);
  }
  await refused('POST', '/api/send', { ...send, volatile: 'yes' });
  await refused('POST', '/api/send', { ...send, idempotencyKey: 7 });
  await refused('POST', '/api/send', { ...send, colour: 'red' });
  await refused('POST', '/api/ask', { event: 'x', data: 1, timeoutMs: 100 });
  await refused('POST', '/api/ask', { user: 'a', room: 'b', event: 'x', data: 1, timeoutMs: 100 });
  for (const timeoutMs of [-1, 1.5, 'soon', 1e12]) await refused('POST', '/api/ask', { user: 'a', event: 'x', data: 1, timeoutMs });
  await refused('GET', '/api/rooms');
  await refused('GET', '/api/rooms?user=');
});

test('api: another method or path is refused', async () => {
  assert.equal((await demo.request('GET', '/api/send')).status, 405);
  assert.equal((await demo.request('POST', '/api/stats')).status, 405);
  assert.equal((await demo.request('GET', '/api/none')).status, 404);
});

test('api: a send over several providers gives one receipt each, in the order asked', async () => {
  const user = unique('alice');
  const clients = await Promise.all([openSse(demo, { user }), openWs(demo, { user }), openSocket(demo, { user })]);
  const answer = await demo.request('POST', '/api/send', {
    provider: ['socket', 'sse', 'ws'], target: { user }, event: 'news', data: { a: 1 } });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.body.receipts.map((r) => r.provider), ['socket', 'sse', 'ws']);
  for (const { receipt } of answer.body.receipts) assert.deepEqual(receipt.delivered, { matched: 1, queued: 1, dropped: 0 });
  for (const client of clients) {
    assert.deepEqual((await client.inbox.next((i) => i.event === 'news', 'news')).data, { a: 1 });
    client.close();
  }
});

test('api: a send to nobody has a receipt that says so', async () => {
  const receipt = await demo.send('sse', { user: unique('nobody') }, 'news', 1);
  assert.deepEqual(receipt.delivered, { matched: 0, queued: 0, dropped: 0 });
});

test('api: positions grow by one', async () => {
  const user = unique('alice');
  const fresh = await startDemo();
  try {
    const positions = [];
    for (let n = 0; n < 5; n++) positions.push((await fresh.send('ws', { user }, 'news', n)).position);
    for (let n = 1; n < 5; n++) assert.equal(positions[n], positions[n - 1] + 1);
  } finally {
    await fresh.stop();
  }
});

test('api: an ask of a user with devices on two transports names them all', async () => {
  const user = unique('alice');
  const [ws, socket] = await Promise.all([openWs(demo, { user }), openSocket(demo, { user })]);
  const asked = demo.ask({ user, event: 'ready?', data: 1, timeoutMs: 10_000 });
  const { message } = await ws.next('ready?');
  ws.send('ack', 'from ws', { ack: message.ack });
  (await socket.next('ready?')).ack('from socket');
  const acks = await asked;
  assert.deepEqual(acks.map(({ provider, status, data }) => [provider, status, data]).sort(), [
    ['socket', 'answered', 'from socket'], ['ws', 'answered', 'from ws']]);
  ws.close();
  socket.close();
});

test('api: an ask of nobody is answered at once with no acks', async () => {
  assert.deepEqual(await demo.ask({ user: unique('nobody'), event: 'ready?', data: 1, timeoutMs: 5000 }), []);
});

test('api: an ask of a room asks its members', async () => {
  const room = unique('room');
  const member = await openSocket(demo, { user: unique('alice'), rooms: [room] });
  const other = await openSocket(demo, { user: unique('bob') });
  const asked = demo.ask({ room, event: 'ready?', data: 1, timeoutMs: 10_000 });
  (await member.next('ready?')).ack('yes');
  assert.deepEqual((await asked).map((ack) => ack.connectionId), [member.connected.data.connectionId]);
  member.close();
  other.close();
});

test('api: rooms list, join and leave', async () => {
  const user = unique('alice');
  const answer = await demo.request('GET', `/api/rooms?user=${user}`);
  assert.deepEqual(answer.body, { user, rooms: { sse: [], ws: [], socket: [] } });
  await demo.join(user, 'one');
  await demo.join(user, 'two');
  await demo.join(user, 'two');
  const rooms = await demo.rooms(user);
  for (const provider of ['sse', 'ws', 'socket']) assert.deepEqual(rooms[provider].sort(), ['one', 'two']);
  await demo.leave(user, 'one');
  await demo.leave(user, 'never joined');
  assert.deepEqual((await demo.rooms(user)).ws, ['two']);
});

test('api: stats count connections, users, rooms and events', async () => {
  const fresh = await startDemo();
  try {
    const zero = await fresh.stats('ws');
    for (const field of ['connections', 'users', 'rooms', 'eventsIn', 'eventsOut', 'bytesOut', 'dropped']) {
      assert.equal(typeof zero[field], 'number', field);
    }
    assert.equal(typeof zero.refused, 'object');
    assert.equal(zero.connections, 0);
    const user = unique('alice');
    const one = await openWs(fresh, { user, channels: ['r'] });
    const two = await openWs(fresh, { user });
    await until(async () => {
      const now = await fresh.stats('ws');
      return now.connections === 2 && now.users === 1 && now.rooms === 1;
    }, 'two connections of one user in one room');
    const before = await fresh.stats('ws');
    one.send('echo', 1);
    await fresh.send('ws', { user }, 'news', 1);
    await two.next('news');
    await until(async () => {
      const now = await fresh.stats('ws');
      return now.eventsIn === before.eventsIn + 1 && now.eventsOut >= before.eventsOut + 2 && now.bytesOut > before.bytesOut;
    }, 'the events to be counted');
    one.close();
    two.close();
    await until(async () => (await fresh.stats('ws')).connections === 0, 'no connections');
    assert.equal((await fresh.stats('sse')).connections, 0);
  } finally {
    await fresh.stop();
  }
});

test('api: healthz and readyz', async () => {
  assert.equal((await demo.request('GET', '/healthz')).status, 200);
  assert.equal((await demo.request('GET', '/readyz')).status, 200);
});

test('api: the server stops when asked to, with clients connected, and tells them', async () => {
  const fresh = await startDemo();
  const user = unique('alice');
  const [sse, ws, socket] = await Promise.all([openSse(fresh, { user }), openWs(fresh, { user }), openSocket(fresh, { user })]);
  const [end, closure] = await Promise.all([fresh.stop(), ws.closure(), socket.disconnected]);
  sse.close();
  assert.equal(end.code, 0);
  assert.equal(closure.code, 1001);
});

test('api: an address outside loopback is refused without a flag that allows it', async () => {
  await assert.rejects(startDemo('--listen', '0.0.0.0:0'), /the demo ended/);
});
