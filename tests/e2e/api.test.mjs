// The demo's HTTP interface: its answers, and its errors for invalid requests.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { pipeline } from './lib/burst.mjs';
import { startDemo } from './lib/demo.mjs';
import { openSocket, TRAVEL } from './lib/socketio.mjs';
import { openSse } from './lib/sse.mjs';
import { unique, until, within } from './lib/wait.mjs';
import { openWs, WsClient } from './lib/ws.mjs';

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

test('api: reserved event names are refused', async () => {
  for (const event of ['connected', 'cursor', 'lost', 'reconnect', 'error', 'open', 'ack', 'subscribe', 'unsubscribe', 'connect',
    'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener', 'closed', 'expiring']) {
    const error = await refused('POST', '/api/send', { ...send, event });
    assert.match(error.message, /reserved/);
  }
  for (const event of ['message', 'ping']) {
    assert.equal((await demo.request('POST', '/api/send', { ...send, event })).status, 200, event);
  }
});

test('api: unknown provider is refused with the known names', async () => {
  const error = await refused('POST', '/api/send', { ...send, provider: 'pigeon' });
  for (const name of ['pigeon', 'sse', 'ws', 'socket']) assert.match(error.message, new RegExp(name));
  for (const provider of ['', 7, null, [], ['ws', 7], {}]) await refused('POST', '/api/send', { ...send, provider });
});

test('api: invalid target is refused', async () => {
  for (const target of ['everybody', '', 7, null, [], {}, { user: 'a', room: 'b' }, { planet: 'x' }, { user: ['a'] }]) {
    await refused('POST', '/api/send', { ...send, target });
  }
});

test('api: invalid body is refused', async () => {
  for (const path of ['/api/send', '/api/ask', '/api/rooms/join', '/api/rooms/leave', '/api/wire']) {
    for (const body of ['', '{', 'hello', '[]', 'null', '7', '{}', '\ud800']) await refused('POST', path, body);
    await refused('POST', path, Buffer.from([0x7b, 0xff, 0x7d]));
    await refused('POST', path, `{"data":${'['.repeat(200)}${']'.repeat(200)}}`);
  }
  for (const field of ['target', 'event']) {
    const { [field]: _, ...rest } = send;
    await refused('POST', '/api/send', rest);
  }
  await refused('POST', '/api/send', { ...send, volatile: 'yes' });
  await refused('POST', '/api/send', { ...send, idempotencyKey: 7 });
  await refused('POST', '/api/send', { ...send, latestKey: 7 });
  await refused('POST', '/api/send', { ...send, latestKey: 'a\nb' });
  await refused('POST', '/api/send', { ...send, latestKey: 'price', volatile: true });
  await refused('POST', '/api/send', { ...send, colour: 'red' });
  await refused('POST', '/api/ask', { event: 'x', data: 1, timeoutMs: 100 });
  await refused('POST', '/api/ask', { user: 'a', room: 'b', event: 'x', data: 1, timeoutMs: 100 });
  for (const timeoutMs of [-1, 1.5, 'soon', 1e12]) await refused('POST', '/api/ask', { user: 'a', event: 'x', data: 1, timeoutMs });
  await refused('GET', '/api/rooms');
  await refused('GET', '/api/rooms?user=');
  await refused('GET', '/api/connections');
  await refused('GET', '/api/connections?user=');
  const wire = { link: 'abcd1234', cut: false, bytesPerSecond: null };
  for (const link of ['', 'short', 'x'.repeat(65), 'abcd-1234', 'ä'.repeat(8), 7, null, undefined]) await refused('POST', '/api/wire', { ...wire, link });
  for (const cut of ['yes', 1, null, undefined]) await refused('POST', '/api/wire', { ...wire, cut });
  for (const bytesPerSecond of [0, -1, 1.5, 'fast', 2 ** 32]) await refused('POST', '/api/wire', { ...wire, bytesPerSecond });
  await refused('POST', '/api/wire', { ...wire, colour: 'red' });
});

test('api: another method or path is refused', async () => {
  assert.equal((await demo.request('GET', '/api/send')).status, 405);
  assert.equal((await demo.request('POST', '/api/stats')).status, 405);
  assert.equal((await demo.request('GET', '/api/none')).status, 404);
});

test('api: send over providers gives one receipt each, in order', async () => {
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

test('api: send without a provider goes over all of them, once', async () => {
  const user = unique('alice');
  const clients = await Promise.all([openSse(demo, { user }), openWs(demo, { user }), openSocket(demo, { user })]);
  const answer = await demo.request('POST', '/api/send', { target: { user }, event: 'news', data: { a: 1 } });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.body.receipts.map((r) => r.provider).sort(), ['socket', 'sse', 'ws']);
  const places = answer.body.receipts.map(({ receipt }) => `${receipt.id} ${receipt.position}`);
  assert.equal(new Set(places).size, 1, 'it is one record');
  await demo.request('POST', '/api/send', { target: { user }, event: 'sentinel', data: null });
  for (const client of clients) {
    const got = [];
    for (let item; item?.event !== 'sentinel'; got.push(item.event)) item = await client.inbox.next((i) => ['news', 'sentinel'].includes(i.event), 'news');
    assert.deepEqual(got, ['news', 'sentinel']);
    client.close();
  }
});

test('api: send without receivers says so in its receipt', async () => {
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

test('api: ask reports every device on two transports', async () => {
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

test('api: ask without receivers is answered immediately', async () => {
  assert.deepEqual(await demo.ask({ user: unique('nobody'), event: 'ready?', data: 1, timeoutMs: 5000 }), []);
});

test('api: ask of a room asks its members', async () => {
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

test('api: connections are listed with their state, by transport', async () => {
  const user = unique('alice');
  const none = await demo.request('GET', `/api/connections?user=${user}`);
  assert.deepEqual(none.body, { user, connections: { sse: [], ws: [], socket: [] } });
  const clients = { sse: await openSse(demo, { user }), ws: await openWs(demo, { user, tenant: 'acme' }), socket: await openSocket(demo, { user }) };
  const other = await openWs(demo, { user: unique('bob') });
  for (const [provider, client] of Object.entries(clients)) {
    await demo.send(provider, { user }, 'news', 1);
    const { cursor } = await client.inbox.next((i) => i.event === 'news', 'news');
    const [stats, ...more] = await until(async () => {
      const found = (await demo.request('GET', `/api/connections?user=${user}`)).body.connections[provider];
      return found[0].behind === false && found[0].cursor === cursor && found;
    }, 'the connection to be live at its cursor');
    assert.equal(more.length, 0);
    assert.deepEqual([stats.connection, stats.provider, stats.user, stats.tenant],
      [client.connected.data.connectionId, provider, user, provider === 'ws' ? 'acme' : null]);
    assert.deepEqual([stats.lag, stats.queuedEvents, stats.queuedBytes, stats.dropped, stats.overflows, stats.lost, stats.superseded], [0, 0, 0, 0, 0, 0, 0]);
    assert.equal(stats.resumed, false);
    assert.ok(stats.eventsOut >= 1 && stats.bytesOut > 0 && stats.connectedMs >= 0, JSON.stringify(stats));
  }
  for (const client of [...Object.values(clients), other]) client.close();
});

test('api: resumed client gets only the newest of a latest key', async () => {
  const user = unique('alice');
  const before = await openWs(demo, { user });
  before.close();
  const watcher = await openWs(demo, { user });
  for (const [n, latestKey] of [[1, 'a'], [2, 'b'], [3, 'a'], [4, undefined], [5, 'a']]) await demo.send('ws', { user }, 'news', n, { latestKey });
  const isNews = (i) => i.event === 'news';
  assert.deepEqual((await watcher.inbox.collect(5, isNews)).map((i) => i.data), [1, 2, 3, 4, 5]);
  const after = await openWs(demo, { user, lastEventId: before.connected.data.cursor });
  assert.deepEqual((await after.inbox.collect(3, isNews)).map((i) => i.data), [2, 4, 5]);
  const { connections } = (await demo.request('GET', `/api/connections?user=${user}`)).body;
  const stats = connections.ws.find(({ connection }) => connection === after.connected.data.connectionId);
  assert.deepEqual([stats.superseded, stats.resumed], [2, true]);
  watcher.close();
  after.close();
});

// Wires

const setFault = async (link, cut, bytesPerSecond = null) => {
  const answer = await demo.request('POST', '/api/wire', { link, cut, bytesPerSecond });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
};
const newLink = () => unique('link').replaceAll('-', 'x');
/** Sends one GET; resolves with its status, or the error's code if the connection was reset. */
function fetched(path, agent) {
  const done = new Promise((resolve) => {
    const request = http.get(demo.url + path, { agent }, (response) => {
      let bytes = 0;
      response.on('data', (chunk) => { bytes += chunk.length; });
      response.on('error', (error) => resolve({ error: error.code }));
      response.on('end', () => resolve({ status: response.statusCode, bytes, port: request.socket?.localPort }));
    });
    request.on('error', (error) => resolve({ error: error.code }));
  });
  return within(done, () => `an end of GET ${path}`);
}

test('api: cut link is reset on each attempt, and no other link', async () => {
  const [user, link, otherLink] = [unique('alice'), newLink(), newLink()];
  const path = (provider, of) => `${demo.wsUrl}/${provider}?user=${user}&link=${of}`;
  const cut = new WsClient(new WebSocket(path('ws', link)));
  const other = new WsClient(new WebSocket(path('ws', otherLink)));
  const sse = await fetch(`${demo.url}/sse?user=${user}&link=${link}`);
  const socket = await openSocket(demo, { user }, TRAVEL.websocket, { query: { link } });
  await Promise.all([cut.next('connected'), other.next('connected')]);
  // The stream's connection was to be closed at its end in any case, so that fetch takes a reset
  // for that.
  const ended = sse.text().catch(() => 'error');

  assert.deepEqual(await setFault(link, true), { link, cut: true, bytesPerSecond: null, connections: 3 });
  assert.equal((await cut.closure()).code, 1006);
  assert.equal(await within(socket.disconnected, () => 'the end of the socket'), 'transport close');
  await within(ended, () => 'the end of the stream');
  for (const at of ['/sse', '/ws', '/healthz', '/socket.io/']) {
    assert.match((await fetched(`${at}?user=${user}&link=${link}`)).error, /^(ECONNRESET|EPIPE)$/, at);
  }
  assert.equal((await fetched(`/healthz?link=${otherLink}`)).status, 200);
  assert.equal((await fetched('/healthz')).status, 200);

  await demo.send('ws', { user }, 'news', 'meanwhile');
  assert.equal((await other.next('news')).data, 'meanwhile');
  await setFault(link, false);
  const back = new WsClient(new WebSocket(`${path('ws', link)}&lastEventId=${cut.inbox.items[0].data.cursor}`));
  assert.equal((await back.next('connected')).data.resumed, true);
  assert.equal((await back.next('news')).data, 'meanwhile');
  for (const client of [back, other, socket]) client.close();
});

test('api: slowed link falls behind alone, and catches up', async () => {
  const [user, link] = [unique('alice'), newLink()];
  const slow = new WsClient(new WebSocket(`${demo.wsUrl}/ws?user=${user}&link=${link}`));
  const quick = await openWs(demo, { user });
  const { data: { connectionId } } = await slow.next('connected');
  assert.equal((await setFault(link, false, 100)).connections, 1);
  const count = 200;
  const pad = 'x'.repeat(4_000);
  assert.equal(await pipeline(demo, '/api/send', Array.from({ length: count }, (_, n) => (
    { provider: 'ws', target: { user }, event: 'news', data: { n, pad } }))), count);
  const isNews = (i) => i.event === 'news';
  await quick.inbox.collect(count, isNews);
  const own = async () => (await demo.request('GET', `/api/connections?user=${user}`)).body.connections.ws
    .find(({ connection }) => connection === connectionId);
  const stats = await until(async () => {
    const now = await own();
    return now.behind && now;
  }, 'the connection to be behind');
  assert.ok(stats.lag > 0 && stats.overflows > 0, JSON.stringify(stats));
  assert.ok(slow.inbox.items.filter(isNews).length < count);

  await setFault(link, false);
  const got = await slow.inbox.collect(count, isNews);
  assert.deepEqual(got.map((i) => i.data.n), Array.from({ length: count }, (_, n) => n));
  await until(async () => !(await own()).behind, 'the connection to be live');
  slow.close();
  quick.close();
});

test('api: connection that leaves a slowed link is fast again', async () => {
  const link = newLink();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  try {
    const first = await fetched(`/healthz?link=${link}`, agent);
    assert.equal((await setFault(link, false, 1_000)).connections, 1);
    // At that rate it would take more than ten seconds.
    const second = await fetched('/style.css', agent);
    assert.equal(second.port, first.port, 'the connection was not used again');
    assert.ok(second.bytes > 10_000, `${second.bytes}`);
    // And a cut does not reach it.
    assert.equal((await setFault(link, true)).connections, 0);
    assert.deepEqual(await fetched('/healthz', agent), { ...first });
    await setFault(link, false);
  } finally {
    agent.destroy();
  }
});

test('api: healthz and readyz', async () => {
  assert.equal((await demo.request('GET', '/healthz')).status, 200);
  assert.equal((await demo.request('GET', '/readyz')).status, 200);
});

test('api: metrics are in the text format of Prometheus, with all that is counted', async () => {
  const ws = await openWs(demo, { user: unique('alice') });
  const { status, headers, body } = await demo.request('GET', '/metrics');
  ws.close();
  assert.deepEqual([status, headers.get('content-type')], [200, 'text/plain; version=0.0.4; charset=utf-8']);
  assert.match(body, /^# HELP realtime_connections .+\n# TYPE realtime_connections gauge\n/m);
  assert.match(body, /^realtime_connections\{provider="ws"\} [1-9]/m);
  assert.match(body, /^realtime_ready 1$/m);
});

test('api: server closes its clients and exits on a signal', async () => {
  const fresh = await startDemo();
  const user = unique('alice');
  const [sse, ws, socket] = await Promise.all([openSse(fresh, { user }), openWs(fresh, { user }), openSocket(fresh, { user })]);
  const [end, closure] = await Promise.all([fresh.stop(), ws.closure(), socket.disconnected]);
  sse.close();
  assert.equal(end.code, 0);
  assert.equal(closure.code, 1012);
});

test('api: remote address needs --allow-remote', async () => {
  await assert.rejects(startDemo('--listen', '0.0.0.0:0'), /the demo ended .*reached from other machines/s);
});
