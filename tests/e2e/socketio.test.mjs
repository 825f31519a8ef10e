// Socket.IO, with the official client over each transport.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { addressing } from './lib/common.mjs';
import { startDemo } from './lib/demo.mjs';
import { dial, openSocket, refusedSocket, TRAVEL } from './lib/socketio.mjs';
import { unique, until, within } from './lib/wait.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

for (const [name, transports] of Object.entries(TRAVEL)) {
  const open = (at, { channels, ...who }) => openSocket(at, { ...who, rooms: channels }, transports);
  addressing(`socket.io over ${name}`, 'socket', open, () => demo);

  /** Runs with a fresh client and closes it. */
  const withClient = (body, who = {}) => async () => {
    const user = unique('alice');
    const client = await openSocket(demo, { user, ...who }, transports);
    try {
      await body(client, user);
    } finally {
      client.close();
    }
  };
  const check = (title, body) => test(`socket.io over ${name}: ${title}`, body);

  check('event has two arguments, the payload and the cursor', withClient(async (client, user) => {
    await demo.send('socket', { user }, 'news', { a: 1 });
    const { args } = await client.next('news');
    assert.equal(args.length, 2);
    assert.deepEqual(args[0], { a: 1 });
    assert.match(args[1], /^[A-Za-z0-9_-]{1,256}$/);
  }));

  check('connection id is not the secret session id', withClient(async (client) => {
    assert.notEqual(client.connected.data.connectionId, client.socket.io.engine.id);
    assert.ok(!JSON.stringify(client.connected.args).includes(client.socket.io.engine.id));
  }));

  check('client’s question is answered', withClient(async (client) => {
    assert.deepEqual(await client.ask('echo', { a: 1 }), { a: 1 });
    assert.equal(await client.ask('echo', 'x'.repeat(500_000)).then((text) => text.length), 500_000);
  }));

  check('binary payloads go both ways', withClient(async (client) => {
    const bytes = Buffer.from([0, 1, 2, 255, 254, 10, 13]);
    const answer = await client.ask('echo', bytes);
    assert.ok(Buffer.isBuffer(answer) || answer instanceof ArrayBuffer, `an answer of ${typeof answer}`);
    assert.deepEqual(Buffer.from(answer), bytes);
    const nested = await client.ask('echo', { name: 'x', parts: [bytes, Buffer.alloc(70_000, 7)] });
    assert.deepEqual(Buffer.from(nested.parts[0]), bytes);
    assert.deepEqual(Buffer.from(nested.parts[1]), Buffer.alloc(70_000, 7));
  }));

  check('ask reaches each socket of a user; silent one times out', withClient(async (client, user) => {
    const silent = await openSocket(demo, { user }, transports);
    const asked = demo.ask({ user, event: 'ready?', data: { n: 1 }, timeoutMs: 1500 });
    const item = await client.next('ready?');
    assert.deepEqual(item.args, [{ n: 1 }]);
    item.ack({ ok: true });
    const acks = await asked;
    const of = (one) => acks.find((ack) => ack.connectionId === one.connected.data.connectionId);
    assert.equal(acks.length, 2);
    assert.equal(of(client).provider, 'socket');
    assert.equal(of(client).status, 'answered');
    assert.deepEqual(of(client).data, { ok: true });
    assert.equal(typeof of(client).ms, 'number');
    assert.equal(of(silent).status, 'timedOut');
    silent.close();
  }));

  check('socket closed during an ask is reported as gone', withClient(async (client, user) => {
    const asked = demo.ask({ user, event: 'ready?', data: null, timeoutMs: 10_000 });
    await client.next('ready?');
    client.close();
    const acks = await asked;
    assert.deepEqual(acks.map((ack) => ack.status), ['gone']);
  }));

  check('5,000 events of 1 kB sent at once are answered in order', withClient(async (client) => {
    const text = 'x'.repeat(1000);
    const answers = [];
    const done = new Promise((resolve) => {
      for (let n = 0; n < 5_000; n += 1) {
        client.socket.emit('echo', { n, text }, (answer) => {
          answers.push(answer.n);
          if (answers.length === 5_000) resolve();
        });
      }
    });
    await within(done, () => `5,000 answers, ${answers.length} came`, 60_000);
    assert.deepEqual(answers, Array.from({ length: 5_000 }, (_, n) => n));
  }));

  check('client joins and leaves a room', withClient(async (client, user) => {
    const room = unique('room');
    const joined = async () => (await demo.rooms(user)).socket;
    client.emit('join', room);
    await until(async () => (await joined()).includes(room), 'the room in the list');
    await demo.send('socket', { room }, 'news', 'in');
    client.emit('leave', room);
    await until(async () => !(await joined()).includes(room), 'the room out of the list');
    await demo.send('socket', { room }, 'news', 'out');
    await demo.send('socket', { user }, 'sentinel', 0);
    await client.inbox.collect(1, (i) => i.event === 'sentinel');
    assert.deepEqual(client.inbox.items.filter((i) => i.event === 'news').map((i) => i.data), ['in']);
  }));

  check('chat message reaches the room but not its sender', async () => {
    const room = unique('room');
    const alice = await openSocket(demo, { user: unique('alice'), rooms: [room] }, transports);
    const bob = await openSocket(demo, { user: unique('bob'), rooms: [room] }, transports);
    alice.emit('chat:send', { channel: room, text: 'hello' });
    const { data } = await bob.next('chat:message');
    assert.equal(data.channel, room);
    assert.equal(data.text, 'hello');
    assert.match(data.user, /^alice/);
    await alice.ask('echo', 0);
    assert.ok(!alice.inbox.items.some((i) => i.event === 'chat:message'), 'the sender got its own message');
    alice.close();
    bob.close();
  });

  check('5,000 events of one client are handled in order, none lost', async () => {
    const room = unique('room');
    const alice = await openSocket(demo, { user: unique('alice'), rooms: [room] }, transports);
    const bob = await openSocket(demo, { user: unique('bob'), rooms: [room] }, transports);
    for (let n = 0; n < 5000; n++) alice.emit('chat:send', { channel: room, text: `${n}` });
    const got = await bob.inbox.collect(5000, (i) => i.event === 'chat:message', '5,000 chat messages', 60_000);
    assert.deepEqual(got.map((i) => Number(i.data.text)), Array.from({ length: 5000 }, (_, n) => n));
    alice.close();
    bob.close();
  });

  check('no identity is a connect_error with a reason', async () => {
    const error = await refusedSocket(demo, {}, transports);
    assert.ok(error.message.length > 3, error.message);
    assert.doesNotMatch(error.message, /timeout|xhr|websocket error/i);
  });

  check('invalid room or name is a connect_error', async () => {
    for (const who of [{ user: 'a\nb' }, { user: '' }, { user: 'ok', rooms: ['a\0b'] }, { user: 'ok', rooms: 7 }, { user: { x: 1 } }]) {
      const error = await refusedSocket(demo, who, transports);
      assert.ok(error.message.length > 3, JSON.stringify(who));
    }
  });

  check('eleventh socket of a user waits until another leaves', async () => {
    const user = unique('alice');
    const open = await Promise.all(Array.from({ length: 10 }, () => openSocket(demo, { user }, transports)));
    const eleventh = dial(demo, { user }, transports);
    const other = await openSocket(demo, { user: unique('bob') }, transports);
    assert.equal(await open[0].ask('echo', 1), 1);
    assert.deepEqual([eleventh.socket.connected, eleventh.socket.active], [false, true]);
    open[0].close();
    await eleventh.next('connected');
    assert.equal(await open[1].ask('echo', 1), 1);
    for (const client of [...open, eleventh, other]) client.close();
  });

  check('unknown or malformed event leaves the session open', withClient(async (client) => {
    client.emit('no:such:event', 1, 2, 3);
    client.emit('chat:send', 'not an object');
    client.emit('chat:send');
    client.emit('echo');
    assert.equal(await client.ask('echo', 'still here'), 'still here');
  }));

  check('identity in the query works next to protocol names', async () => {
    const user = unique('alice');
    const query = { user, tenant: 'acme', sid: 'AAAAAAAAAAAAAAAA', t: 'acme' };
    const client = await openSocket(demo, {}, transports, { query });
    const receipt = await demo.send('socket', { user }, 'news', 0);
    assert.equal(receipt.delivered.matched, 1);
    client.close();
  });
}

test('socket.io: events during an upgrade arrive in order', async () => {
  const user = unique('alice');
  const client = await openSocket(demo, { user }, TRAVEL.upgrade);
  let sent = 0;
  while (client.transport !== 'websocket' || sent < 500) {
    assert.ok(sent < 20_000, 'the transport was never upgraded');
    await demo.send('socket', { user }, 'news', sent++);
  }
  const got = await client.inbox.collect(sent, (i) => i.event === 'news', `${sent} events`);
  assert.deepEqual(got.map((i) => i.data), Array.from({ length: sent }, (_, n) => n));
  client.close();
});

test('socket.io: message over the limit closes only its connection', async () => {
  for (const transports of [TRAVEL.websocket, TRAVEL.polling]) {
    const healthy = await openSocket(demo, { user: unique('bob') }, transports);
    const client = await openSocket(demo, { user: unique('alice') }, transports);
    client.emit('echo', 'x'.repeat(2 ** 20 + 1));
    await until(() => client.socket.disconnected, `the end of the connection over ${transports}`);
    assert.equal(await healthy.ask('echo', 1), 1);
    healthy.close();
  }
});

test('socket.io: foreign origin is refused', async () => {
  for (const transports of [TRAVEL.websocket, TRAVEL.polling]) {
    await refusedSocket(demo, { user: unique('alice') }, transports, { extraHeaders: { origin: 'https://evil.example' } });
  }
  const answer = await fetch(`${demo.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin: 'https://evil.example' } });
  assert.equal(answer.status, 403);
});

test('socket.io: what is not Engine.IO 4 is refused with a 400', async () => {
  for (const query of ['', '?EIO=4', '?EIO=4&transport=carrier-pigeon', '?EIO=3&transport=polling', '?EIO=4&transport=polling&sid=none']) {
    const answer = await fetch(`${demo.url}/socket.io/${query}`);
    assert.equal(answer.status, 400, `${query}: ${answer.status}`);
  }
});
