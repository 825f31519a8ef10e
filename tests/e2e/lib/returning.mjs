// Clients that reconnect after a cut, made of the code in docs/clients.md. Each has `peek()` for
// its progress, and `read()` for all that it saw.

import { readFile } from 'node:fs/promises';
import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { textOf } from './numbers.mjs';
import { snippet } from './snippet.mjs';

const LISTEN = snippet('Server-Sent Events', 'listen(');
const CONNECT = snippet('WebSocket', 'const send = ');
const KEEP_CURSOR = snippet('Socket.IO', "on('connected'");

/**
 * A record of one client. A page in the browser gets this source, so it must not use other names.
 */
function makeRecord(textOf) {
  const record = { numbers: [], marks: [], connects: [], faults: [], madeAnew: 0 };
  record.handlers = {
    connected: ({ resumed, reason }) => {
      record.connects.push({ at: record.numbers.length, resumed });
      if (record.connects.length > 1 && !resumed) record.faults.push(`not resumed: ${reason}`);
    },
    lost: (gap) => record.faults.push(`lost ${JSON.stringify(gap)}`),
    news: ({ n, text }) => {
      if (text !== textOf(n)) record.faults.push(`the text of ${n} differs`);
      record.numbers.push(n);
    },
    sentinel: (mark) => record.marks.push(mark),
  };
  return record;
}

/** A Socket.IO client with the example's code; it too goes into pages. */
function dialSocket(io, url, keepCursor, record, { user, tenant, named }, options) {
  const dial = ({ auth }) => io(url, {
    auth: (give) => auth((said) => give({ ...said, user, tenant, rooms: [named] })),
    forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 500, ...options,
  });
  const { socket, on } = new Function('io', 'token', `${keepCursor}\nreturn { socket, on };`)(dial);
  for (const [event, handler] of Object.entries(record.handlers)) on(event, handler);
  socket.on('connect_error', (error) => { if (!socket.active) record.faults.push(`refused: ${error.message}`); });
  socket.on('disconnect', (reason) => { if (!socket.active) record.faults.push(`closed finally: ${reason}`); });
  return socket;
}

function path(name, { user, tenant, named }) {
  return `/${name}?${new URLSearchParams({ user, tenant, channel: named })}`;
}

/**
 * The longest delay: a client that is cut again and again waits longer and longer, and would leave
 * the window.
 */
const LONGEST_WAIT = 3000;

/** Chromium's EventSource: one for each team in this page. */
export async function returningInPage(page, all) {
  await page.evaluate(({ listening, recording, texts, paths, longest }) => {
    const later = (what, ms) => setTimeout(what, Math.min(ms, longest));
    window.clients = paths.map((path) => {
      const client = { record: new Function(`return ${recording}`)()(new Function(`return ${texts}`)()), sources: [] };
      class Source extends EventSource {
        constructor(url) {
          super(url);
          if (client.sources.push(this) > 1) client.record.madeAnew += 1;
        }
      }
      new Function('EventSource', 'setTimeout', `${listening}\nreturn listen;`)(Source, later)(path, client.record.handlers);
      return client;
    });
  }, {
    listening: LISTEN,
    recording: `${makeRecord}`,
    texts: `${textOf}`,
    paths: all.map((team) => path('sse', team)),
    longest: LONGEST_WAIT,
  });
  return inPage(page, all, (client) => client.sources.forEach((source) => source.close()));
}

const SOCKET_IO = new URL('../node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url);

/**
 * The official socket.io-client in Chromium; evaluated, since the page's policy allows no script
 * but its own.
 */
export async function returningSocketInPage(page, all, options) {
  await page.evaluate(await readFile(SOCKET_IO, 'utf8'));
  await page.evaluate(({ dialing, keeping, recording, texts, identities, options }) => {
    window.clients = identities.map((identity) => {
      const record = new Function(`return ${recording}`)()(new Function(`return ${texts}`)());
      const socket = new Function(`return ${dialing}`)()(io, location.origin, keeping, record, identity, options);
      return { record, socket };
    });
  }, {
    dialing: `${dialSocket}`,
    keeping: KEEP_CURSOR,
    recording: `${makeRecord}`,
    texts: `${textOf}`,
    identities: all,
    options,
  });
  return inPage(page, all, (client) => client.socket.disconnect());
}

function inPage(page, all, close) {
  return all.map((team, index) => ({
    team,
    peek: () => page.evaluate((at) => {
      const { connects, marks } = window.clients[at].record;
      return { connected: connects.length > 0, marks };
    }, index),
    read: () => page.evaluate((at) => {
      const { handlers, ...record } = window.clients[at].record;
      return record;
    }, index),
    close: () => page.evaluate(({ at, how }) => new Function(`return ${how}`)()(window.clients[at]), { at: index, how: `${close}` }),
  }));
}

function readable(team, record) {
  return { team, peek: () => ({ connected: record.connects.length > 0, marks: record.marks }), read: () => record };
}

/** npm's eventsource. */
export function returningSse(at, team) {
  const record = makeRecord(textOf);
  const sources = new Set();
  class Source extends EventSource {
    constructor(url) {
      super(url);
      if (sources.size) record.madeAnew += 1;
      sources.add(this);
    }
  }
  let open = true;
  const later = (what, ms) => setTimeout(() => { if (open) what(); }, Math.min(ms, LONGEST_WAIT));
  const listen = new Function('EventSource', 'location', 'setTimeout', `${LISTEN}\nreturn listen;`)(Source, { href: at.url }, later);
  listen(path('sse', team), record.handlers);
  return { ...readable(team, record), close: () => { open = false; sources.forEach((source) => source.close()); } };
}

/** npm's ws. */
export function returningWs(at, team) {
  const record = makeRecord(textOf);
  record.handlers.closed = (code) => record.faults.push(`closed finally: ${code}`);
  let open = true;
  let last;
  class Client extends WebSocket {
    constructor(url) {
      super(url);
      last = this;
      this.on('error', () => {}); // a close follows, as in a browser
    }
  }
  const later = (what, ms) => setTimeout(() => { if (open) what(); }, Math.min(ms, LONGEST_WAIT));
  const connect = new Function('WebSocket', 'location', 'setTimeout', `${CONNECT}\nreturn connect;`)(Client, { href: at.wsUrl }, later);
  connect(path('ws', team), record.handlers);
  return { ...readable(team, record), close: () => { open = false; last.terminate(); } };
}

/** npm's socket.io-client. */
export function returningSocket(at, team, options) {
  const record = makeRecord(textOf);
  const socket = dialSocket(io, at.url, KEEP_CURSOR, record, team, options);
  return { ...readable(team, record), close: () => socket.disconnect() };
}
