// Clients made of the code in docs/clients.md, which note what they get when a server shuts down.

import { EventSource } from 'eventsource';
import { io } from 'socket.io-client';
import { WebSocket } from 'ws';
import { snippet } from './snippet.mjs';

const path = (name, user) => `/${name}?${new URLSearchParams({ user })}`;

/** A record of one client: `connected` each time, `news`, and the payloads of `reconnect`. */
function record() {
  const seen = { welcomes: [], news: [], announced: [] };
  const handlers = {
    connected: (welcome) => seen.welcomes.push(welcome),
    news: (news) => seen.news.push(news),
    reconnect: (delay) => seen.announced.push(delay),
  };
  return { seen, handlers };
}

/** npm's eventsource. `made` says how many were needed: one, if it reconnects by itself. */
export function documentedSse(at, user) {
  const { seen, handlers } = record();
  const sources = [];
  class Source extends EventSource {
    constructor(url) {
      super(url);
      sources.push(this);
    }
  }
  const code = `${snippet('Server-Sent Events', 'listen(')}\nreturn listen;`;
  new Function('EventSource', 'location', code)(Source, { href: at.url })(path('sse', user), handlers);
  return { seen, made: () => sources.length, close: () => sources.forEach((source) => source.close()) };
}

/** npm's ws. `ends` are the close codes. */
export function documentedWs(at, user) {
  const { seen, handlers } = record();
  const sockets = [];
  const ends = [];
  let open = true;
  class Client extends WebSocket {
    constructor(url) {
      super(url);
      sockets.push(this);
      this.on('error', () => {}); // a close follows, as in a browser
      this.once('close', (code, reason) => ends.push(`${code} ${reason}`));
    }
  }
  handlers.closed = (code) => ends.push(`closed finally: ${code}`);
  const later = (what, ms) => setTimeout(() => { if (open) what(); }, ms);
  const code = `${snippet('WebSocket', 'const send = ')}\nreturn connect;`;
  new Function('WebSocket', 'location', 'setTimeout', code)(Client, { href: at.wsUrl }, later)(path('ws', user), handlers);
  return { seen, ends, made: () => sockets.length, close: () => { open = false; sockets.at(-1).terminate(); } };
}

/** npm's socket.io-client. `ends` are the reasons of `disconnect`. */
export function documentedSocket(at, user, transports) {
  const { seen, handlers } = record();
  const ends = [];
  // A self-signed certificate is accepted: its default would override the process's setting.
  const options = { forceNew: true, transports, rejectUnauthorized: false };
  const dial = ({ auth }) => io(at.url, { auth: (give) => auth((said) => give({ ...said, user })), ...options });
  const code = `${snippet('Socket.IO', 'async function say')}\nreturn { socket, on };`;
  const { socket, on } = new Function('io', 'token', 'loadState', 'show', code)(dial, undefined, () => {}, () => {});
  for (const [event, handler] of Object.entries(handlers)) on(event, handler);
  socket.on('disconnect', (reason) => ends.push(reason));
  socket.on('connect_error', (error) => ends.push(`connect_error: ${error.message}`));
  return { seen, ends, made: () => 1, close: () => socket.disconnect() };
}
