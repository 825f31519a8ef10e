// Raw WebSocket, with npm's ws and with frames made by hand.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { addressing } from './lib/common.mjs';
import { startDemo } from './lib/demo.mjs';
import { unique, until, within } from './lib/wait.mjs';
import { frame, handshake, openWs, refusedWs, wsQuery } from './lib/ws.mjs';

const MIB = 2 ** 20;
let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

addressing('ws', 'ws', openWs, () => demo);

/** Runs with a fresh client and closes it. */
async function withClient(body, who = {}) {
  const user = unique('alice');
  const client = await openWs(demo, { user, ...who });
  try {
    await body(client, user);
  } finally {
    client.close();
  }
}

/** A handler still answers on this connection, and in order after all that came before. */
async function stillServes(client) {
  const mark = unique('echo');
  client.send('echo', mark);
  const answer = await client.inbox.next((i) => i.data === mark, 'the echo');
  assert.equal(answer.data, mark);
}

test('ws: event is an envelope of type, payload and id', () => withClient(async (client, user) => {
  await demo.send('ws', { user }, 'news', { a: 1 });
  const { message } = await client.next('news');
  assert.deepEqual(Object.keys(message).sort(), ['id', 'payload', 'type']);
}));

test('ws: handler replies', () => withClient(stillServes));

test('ws: what a client asks is answered under its number', () => withClient(async (client) => {
  client.send('echo', { a: 1 }, { ack: 7 });
  client.send('echo', { a: 2 }, { ack: 8 });
  const answers = [await client.next('ack'), await client.next('ack')].map((i) => i.message);
  assert.deepEqual(answers.map(({ ack, payload }) => ({ ack, payload })), [
    { ack: 7, payload: { a: 1 } }, { ack: 8, payload: { a: 2 } }]);
}));

test('ws: what the server asks is answered, or times out', () => withClient(async (client, user) => {
  const silent = await openWs(demo, { user });
  const asked = demo.ask({ user, event: 'ready?', data: { n: 1 }, timeoutMs: 1500 });
  const { message } = await client.next('ready?');
  assert.deepEqual(message.payload, { n: 1 });
  assert.ok(Number.isInteger(message.ack), JSON.stringify(message));
  client.send('ack', { ok: true }, { ack: message.ack });
  const acks = await asked;
  const of = (one) => acks.find((ack) => ack.connectionId === one.connected.data.connectionId);
  assert.equal(acks.length, 2);
  assert.equal(of(client).provider, 'ws');
  assert.equal(of(client).status, 'answered');
  assert.deepEqual(of(client).data, { ok: true });
  assert.equal(typeof of(client).ms, 'number');
  assert.equal(of(silent).status, 'timedOut');
  silent.close();
}));

test('ws: connection closed during an ask is reported as gone', () => withClient(async (client, user) => {
  const asked = demo.ask({ user, event: 'ready?', data: null, timeoutMs: 10_000 });
  await client.next('ready?');
  client.close();
  const acks = await asked;
  assert.deepEqual(acks.map((ack) => ack.status), ['gone']);
}));

test('ws: answer without a question is ignored', () => withClient(async (client) => {
  client.send('ack', { x: 1 }, { ack: 4_000_000_000 });
  client.send('ack', { x: 1 }, { ack: -1 });
  client.send('ack', { x: 1 });
  await stillServes(client);
}));

test('ws: chat message reaches the room but not its sender', async () => {
  const room = unique('room');
  const alice = await openWs(demo, { user: unique('alice'), channels: [room] });
  const bob = await openWs(demo, { user: unique('bob'), channels: [room] });
  alice.send('chat:send', { channel: room, text: 'hello' });
  const { data } = await bob.next('chat:message');
  assert.equal(data.channel, room);
  assert.equal(data.text, 'hello');
  assert.match(data.user, /^alice/);
  await stillServes(alice);
  assert.ok(!alice.inbox.items.some((i) => i.event === 'chat:message'), 'the sender got its own message');
  alice.close();
  bob.close();
});

test('ws: who is not in a room does not write into it', () => withClient(async (client) => {
  client.send('chat:send', { channel: unique('room'), text: 'hello' });
  assert.equal((await client.next('error')).data.code, 'not_in_room');
}));

test('ws: 5,000 messages of one client are handled in order', async () => {
  const room = unique('room');
  const alice = await openWs(demo, { user: unique('alice'), channels: [room] });
  const bob = await openWs(demo, { user: unique('bob'), channels: [room] });
  for (let n = 0; n < 5000; n++) alice.send('chat:send', { channel: room, text: `${n}` });
  const got = await bob.inbox.collect(5000, (i) => i.event === 'chat:message', '5,000 chat messages', 60_000);
  assert.deepEqual(got.map((i) => Number(i.data.text)), Array.from({ length: 5000 }, (_, n) => n));
  alice.close();
  bob.close();
});

test('ws: 5,000 events of 1 kB sent at once are answered in order', () => withClient(async (client) => {
  const text = 'x'.repeat(1000);
  for (let n = 0; n < 5_000; n += 1) client.socket.send(JSON.stringify({ type: 'echo', payload: { n, text }, ack: n }));
  const answers = await client.inbox.collect(5_000, (i) => i.event === 'ack', 60_000);
  assert.deepEqual(answers.map((i) => i.data.n), Array.from({ length: 5_000 }, (_, n) => n));
}));

test('ws: 5,000 invalid messages are answered with 5,000 errors', () => withClient(async (client) => {
  for (let n = 0; n < 5_000; n += 1) client.socket.send('nonsense');
  await client.inbox.collect(5_000, (i) => i.event === 'error', 60_000);
}));

test('ws: subscribe and unsubscribe', () => withClient(async (client, user) => {
  const room = unique('room');
  const joined = async () => (await demo.rooms(user)).ws;
  client.send('subscribe', { channel: room });
  await until(async () => (await joined()).includes(room), 'the room in the list');
  await demo.send('ws', { room }, 'news', 'in');
  client.send('unsubscribe', { channel: room });
  await until(async () => !(await joined()).includes(room), 'the room out of the list');
  await demo.send('ws', { room }, 'news', 'out');
  await demo.send('ws', { user }, 'sentinel', 0);
  await client.inbox.collect(1, (i) => i.event === 'sentinel');
  assert.deepEqual(client.inbox.items.filter((i) => i.event === 'news').map((i) => i.data), ['in']);
}));

for (const [title, text] of [
  ['text that is not JSON', 'hello'],
  ['half an object', '{"type":"echo"'],
  ['an empty message', ''],
  ['a number', '42'],
  ['an array', '[]'],
  ['null', 'null'],
  ['no type', '{"payload":1}'],
  ['a type that is no text', '{"type":5}'],
  ['an empty type', '{"type":""}'],
  ['an unknown type', '{"type":"no:such:type","payload":1}'],
  ['a payload of another shape', '{"type":"chat:send","payload":{"channel":5}}'],
  ['a subscription to a room that cannot be', '{"type":"subscribe","payload":{"channel":""}}'],
  ['a subscription of another shape', '{"type":"subscribe","payload":7}'],
  ['200 nested arrays', `{"type":"echo","payload":${'['.repeat(200)}${']'.repeat(200)}}`],
]) {
  test(`ws: ${title} gets an error and stays connected`, () => withClient(async (client) => {
    client.sendText(text);
    const { data } = await client.next('error');
    assert.match(data.code, /^[A-Za-z][A-Za-z_-]*$/);
    assert.ok(data.message.length > 0);
    await stillServes(client);
  }));
}

test('ws: invalid UTF-8 closes with 1007', () => withClient(async (client) => {
  client.sendText(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]));
  assert.equal((await client.closure()).code, 1007);
}));

test('ws: message of 1 MiB passes, one byte more closes with 1009', async () => {
  const envelope = (size) => {
    const head = '{"type":"echo","payload":"';
    return `${head}${'x'.repeat(size - head.length - 2)}"}`;
  };
  await withClient(async (client) => {
    client.sendText(envelope(MIB));
    await client.inbox.next((i) => typeof i.data === 'string' && i.data.length > MIB - 100, 'the echo of 1 MiB');
    client.sendText(envelope(MIB + 1));
    assert.equal((await client.closure()).code, 1009);
  });
  await withClient(async (client) => {
    client.socket.send('x'.repeat(MIB), { fin: false });
    client.socket.send('x', { fin: true });
    assert.equal((await client.closure()).code, 1009, 'in fragments');
  });
});

test('ws: 100 MB closes with 1009', () => withClient(async (client) => {
  client.socket.send(Buffer.alloc(100_000_000, 0x20), { binary: false });
  assert.equal((await client.closure(60_000)).code, 1009);
}));

for (const [title, bytes] of [
  ['a reserved bit', frame(0x80 | 0x40 | 0x1, '{"type":"echo"}')],
  ['an unmasked frame', frame(0x81, '{"type":"echo"}', { masked: false })],
  ['a reserved opcode', frame(0x83, 'x')],
  ['a continuation of nothing', frame(0x80, 'x')],
  ['a fragmented ping', frame(0x09, 'x')],
  ['a ping of 126 bytes', frame(0x89, 'x'.repeat(126))],
]) {
  test(`ws: ${title} closes with 1002`, () => withClient(async (client) => {
    client.sendRaw(bytes);
    assert.equal((await client.closure()).code, 1002);
  }));
}

test('ws: pings are answered, with their payload', () => withClient(async (client) => {
  const pong = new Promise((resolve) => client.socket.once('pong', resolve));
  client.socket.ping('are you there');
  assert.equal((await within(pong, () => 'a pong')).toString(), 'are you there');
}));

test('ws: close is answered with the same code', () => withClient(async (client) => {
  client.socket.close(1000, 'bye');
  assert.equal((await client.closure()).code, 1000);
}));

test('ws: connection lost within a frame affects no other', () => withClient(async (healthy) => {
  const user = unique('cut');
  const cut = await openWs(demo, { user });
  cut.sendRaw(frame(0x81, 'x'.repeat(1000)).subarray(0, 100));
  cut.close();
  await until(async () => (await demo.send('ws', { user }, 'news', 0)).delivered.matched === 0, 'the cut connection to be gone');
  await stillServes(healthy);
}));

const KEY = 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==';
const UPGRADE = ['connection: Upgrade', 'upgrade: websocket'];

test('ws: another version is refused, naming the right one', async () => {
  const answer = await handshake(demo, wsQuery({ user: unique('alice') }), [...UPGRADE, KEY, 'sec-websocket-version: 8']);
  assert.ok([400, 426].includes(answer.status), `${answer.status}`);
  assert.match(answer.head, /\r\nsec-websocket-version: 13\r\n/);
});

test('ws: half a handshake is refused', async () => {
  const path = wsQuery({ user: unique('alice') });
  const version = 'sec-websocket-version: 13';
  for (const lines of [[], [...UPGRADE, version], ['connection: Upgrade', KEY, version], ['upgrade: websocket', KEY, version],
    [...UPGRADE, version, 'sec-websocket-key: short']]) {
    const answer = await handshake(demo, path, lines);
    assert.ok(answer.status >= 400 && answer.status < 500, `${lines}: ${answer.status}`);
  }
});

test('ws: foreign origin is refused with 403, the own one is not', async () => {
  assert.equal((await refusedWs(demo, { user: unique('alice') }, { origin: 'https://evil.example' })).status, 403);
  assert.equal((await refusedWs(demo, { user: unique('alice') }, { origin: 'null' })).status, 403);
  const own = await openWs(demo, { user: unique('alice') }, { origin: demo.url });
  own.close();
});

test('ws: identity is required', async () => {
  const { status } = await refusedWs(demo, {});
  assert.ok([400, 401].includes(status), `${status}`);
});

test('ws: eleventh connection gets 429 before the upgrade', async () => {
  const user = unique('alice');
  const open = await Promise.all(Array.from({ length: 10 }, () => openWs(demo, { user })));
  assert.equal((await refusedWs(demo, { user })).status, 429);
  for (const client of open) client.close();
});
