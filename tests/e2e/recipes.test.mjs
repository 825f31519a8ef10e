// The examples of docs/clients.md, complete and unchanged, against a server that accepts them and
// one that refuses them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { startDemo } from './lib/demo.mjs';
import { recipe } from './lib/snippet.mjs';
import { unique, until } from './lib/wait.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo.stop());

/** Adds the user that the demo asks for, if there is one. */
const named = (url, user) => {
  const at = new URL(url);
  if (user) at.searchParams.set('user', user);
  return at;
};

/** The parts of a page that an example uses, and a record of their use. */
function page() {
  const seen = { loaded: 0, shown: [], warned: [], waits: [], tokens: 0 };
  return {
    seen,
    button: {},
    console: { ...console, log: (...said) => seen.warned.push(said), warn: (...said) => seen.warned.push(said) },
    loadState: () => { seen.loaded += 1; },
    newToken: async () => `token ${seen.tokens += 1}`,
    show: (what) => seen.shown.push(what),
    setTimeout: (_, ms) => { seen.waits.push(ms); }, // never called: only the delay is checked
  };
}

function run(section, around) {
  const names = Object.keys(around);
  new Function(...names, recipe(section))(...names.map((name) => around[name]));
}

function startSse(user, server = demo) {
  const around = page();
  const sources = [];
  class Source extends EventSource {
    constructor(url) {
      super(named(url, user));
      sources.push(this);
    }
  }
  run('Server-Sent Events', { ...around, EventSource: Source, location: { href: server.url } });
  return { ...around, close: () => sources.forEach((source) => source.close()) };
}

function startWs(user, server = demo) {
  const around = page();
  const sockets = [];
  class Client extends WebSocket {
    constructor(url) {
      super(named(url, user));
      sockets.push(this);
      this.on('error', () => {}); // a close follows, as in a browser
    }
  }
  run('WebSocket', { ...around, WebSocket: Client, location: { href: server.wsUrl } });
  return { ...around, close: () => sockets.forEach((socket) => socket.terminate()) };
}

function startSocket(user, server = demo) {
  const around = page();
  let socket;
  const dial = ({ auth }) => {
    socket = io(server.url, { auth: (give) => auth((said) => give({ ...said, user })), forceNew: true });
    return socket;
  };
  run('Socket.IO', { ...around, io: dial, token: undefined });
  return { ...around, close: () => socket.disconnect() };
}

test('recipes: Server-Sent Events as documented', async () => {
  const user = unique('ann');
  const { seen, close } = startSse(user);
  await until(() => seen.loaded === 1, 'the state to be loaded');
  await demo.send('sse', { room: 'dashboard' }, 'metric-update', { n: 1 });
  await until(() => seen.shown.length === 1, 'the metric');
  assert.deepEqual([seen.shown, seen.waits], [[{ n: 1 }], []]);
  close();
});

test('recipes: WebSocket as documented', async () => {
  const { seen, button, close } = startWs(unique('ann'));
  await until(() => seen.loaded === 1, 'the state to be loaded');
  await demo.send('ws', { room: 'acme/general' }, 'chat:message', { text: 'from the server' });
  await until(() => seen.shown.length === 1, 'the message');
  button.onclick();
  await until(() => seen.warned.length === 1, 'the answer');
  assert.deepEqual(seen.warned[0][0], 7, 'under its number');
  close();
});

test('recipes: Socket.IO as documented', async () => {
  const { seen, button, close } = startSocket(unique('ann'));
  await until(() => seen.loaded === 1, 'the state to be loaded');
  await demo.send('socket', { room: 'public/news' }, 'said', { text: 'from the server' });
  await until(() => seen.shown.length === 1, 'the message');
  assert.deepEqual(seen.shown, [{ text: 'from the server' }]);
  await button.onclick(); // its handler has nothing to answer
  await until(() => seen.shown.length === 2, 'what was said');
  assert.deepEqual([seen.shown[1], seen.warned], [{ text: 'hi' }, []]);
  close();
});

test('recipes: refused clients retry or report it', async () => {
  const sse = startSse();
  await until(() => sse.seen.waits.length === 1, 'the EventSource to be made anew later');
  assert.ok(sse.seen.waits[0] >= 2250 && sse.seen.waits[0] <= 3750, `${sse.seen.waits}`);
  sse.close();
  const ws = startWs();
  await until(() => ws.seen.waits.length === 1, 'the WebSocket to be made anew later');
  assert.ok(ws.seen.waits[0] >= 375 && ws.seen.waits[0] <= 625, `${ws.seen.waits}`);
  ws.close();
  const socket = startSocket();
  await until(() => socket.seen.warned.length === 1, 'the refusal');
  assert.deepEqual(socket.seen.warned[0].slice(0, 2), ['refused:', 'unauthorized']);
  assert.deepEqual([socket.seen.loaded, socket.seen.waits], [0, []]);
  socket.close();
});

test('recipes: credentials that end are refreshed', async () => {
  const server = await startDemo('--token-life', '1');
  const user = unique('ann');
  const clients = [startSse(user, server), startWs(user, server), startSocket(user, server)];
  // Each is notified halfway, so that these are more than two lives.
  for (const { seen } of clients) await until(() => seen.tokens >= 5, 'five tokens');
  await server.send('sse', { room: 'dashboard' }, 'metric-update', { n: 1 });
  await server.send('ws', { room: 'acme/general' }, 'chat:message', { n: 2 });
  await server.send('socket', { room: 'public/news' }, 'said', { n: 3 });
  for (const { seen } of clients) await until(() => seen.shown.length === 1, 'an event');
  for (const { seen } of clients) assert.deepEqual([seen.loaded, seen.waits, seen.warned], [1, [], []]);
  for (const transport of ['sse', 'ws', 'socket']) assert.equal((await server.stats(transport)).connected, 1, transport);
  clients.forEach(({ close }) => close());
  await server.stop();
});
