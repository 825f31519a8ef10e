// Tokens and one-time tickets with real clients, against the example `jwt`.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { startExample } from './lib/demo.mjs';
import { recipe, snippet } from './lib/snippet.mjs';
import { startRelay } from './lib/tcp.mjs';
import { until, within } from './lib/wait.mjs';

let server;
before(async () => { server = await startExample('jwt'); });
after(() => server?.stop());

const login = async (name) => (await fetch(`${server.url}/login`, { method: 'POST', body: name })).text();

/** The code of the refusal of an event stream. */
const refusal = async (query, headers = {}) => {
  const answer = await fetch(`${server.url}/sse${query}`, { headers });
  return [answer.status, (await answer.json()).error.code];
};

/** A WebSocket with these subprotocols: the one that was answered, or the status of the refusal. */
const opened = (protocols) => within(new Promise((resolve) => {
  const socket = new WebSocket(`${server.wsUrl}/ws`, protocols);
  socket.on('error', () => {});
  socket.on('unexpected-response', (_, answer) => resolve(answer.statusCode));
  socket.on('open', () => { resolve(socket.protocol); socket.terminate(); });
}), () => `a handshake with ${protocols}`);

test('jwt: a websocket presents its token as a subprotocol', async () => {
  const token = await login('ann');
  assert.equal(await opened(['bearer', token]), 'bearer');
  assert.equal(await opened(['v1', 'bearer', token]), 'bearer');
  assert.equal(await opened(['bearer', `${token}x`]), 401);
  assert.equal(await opened(['bearer']), 400);
  assert.equal(await opened([]), 401);
});

test('jwt: a token says what is wrong with it', async () => {
  const token = await login('ann');
  const [head, claims, signature] = token.split('.');
  const bearer = (text) => refusal('', { authorization: `Bearer ${text}` });
  const other = Buffer.from(JSON.stringify({ sub: 'root' })).toString('base64url');
  assert.deepEqual(await refusal(''), [401, 'token_missing']);
  assert.deepEqual(await refusal(`?token=${token}`), [401, 'token_missing'], 'not from a URL');
  assert.deepEqual(await bearer('x'), [401, 'token_malformed']);
  assert.deepEqual(await bearer(`${head}.${other}.${signature}`), [401, 'token_signature']);
  const none = Buffer.from('{"alg":"none"}').toString('base64url');
  assert.deepEqual(await bearer(`${none}.${claims}.`), [401, 'token_malformed']);
});

test('jwt: Socket.IO presents token or ticket in auth', async () => {
  const token = await login('ann');
  const made = await fetch(`${server.url}/ticket`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
  const { ticket, expiresIn } = await made.json();
  assert.equal(expiresIn, 30);
  const outcome = (auth) => within(new Promise((resolve) => {
    const socket = io(server.url, { auth, forceNew: true, reconnection: false });
    socket.on('connect_error', (error) => { resolve(error.data.code); socket.disconnect(); });
    socket.on('connected', () => { resolve('connected'); socket.disconnect(); });
  }), () => 'an outcome');
  assert.equal(await outcome({ token }), 'connected');
  assert.equal(await outcome({ token: `${token}x` }), 'token_signature');
  assert.equal(await outcome({ ticket }), 'connected');
  assert.equal(await outcome({ ticket }), 'ticket_used');
});

test('jwt: an EventSource with tickets misses nothing when it is cut', async () => {
  const token = await login('bob');
  const links = [];
  const relay = await startRelay((client, dial) => {
    const upstream = dial(server);
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
    client.pipe(upstream).pipe(client);
    links.push(client);
  });
  const urls = [];
  class Source extends EventSource {
    constructor(url) {
      super(url);
      urls.push(new URL(url));
      this.addEventListener('error', (error) => { if (error.code) codes.push(error.code); });
    }
  }
  const codes = [];
  const fetchTicket = new Function('fetch', 'token', `${recipe('Server-Sent Events', 1)}\nreturn fetchTicket;`)(
    (path, options) => fetch(server.url + path, options), token);
  // The delays of the documented code, without the wait.
  const soon = (what) => setImmediate(what);
  const listen = new Function('EventSource', 'location', 'setTimeout', `${snippet('Server-Sent Events', 'listen(')}\nreturn listen;`)(
    Source, { href: relay.url }, soon);
  const seen = { welcomes: [], published: [] };
  listen('/sse', {
    connected: (welcome) => seen.welcomes.push(welcome),
    published: (text) => seen.published.push(text),
  }, fetchTicket);
  await until(() => seen.welcomes.length === 1, 'the first connection');

  const writer = new WebSocket(`${server.wsUrl}/ws`, ['bearer', await login('ann')]);
  await within(new Promise((resolve) => { writer.once('open', resolve); }), () => 'the writer');
  const publish = (payload) => writer.send(JSON.stringify({ type: 'publish', payload }));
  publish('one');
  await until(() => seen.published.length === 1, 'the first event');
  links.forEach((link) => link.destroy());
  publish('two');
  await until(() => seen.published.length === 2, 'what was missed');
  publish('three');
  await until(() => seen.published.length === 3, 'the next event');
  assert.deepEqual(seen.published, ['one', 'two', 'three']);
  assert.deepEqual([seen.welcomes.length, seen.welcomes[1].resumed], [2, true]);
  assert.deepEqual(codes, [401], 'the used ticket, which the source presents by itself');
  const tickets = urls.map((url) => url.searchParams.get('ticket'));
  assert.equal(new Set(tickets).size, 2);
  assert.ok(urls.every((url) => !url.href.includes(token)));
  writer.terminate();
  relay.close();
});
