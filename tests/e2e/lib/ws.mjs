// A raw WebSocket client (npm's ws) that keeps what it received, and a handshake by hand for
// requests that no client sends.

import net from 'node:net';
import { WebSocket } from 'ws';
import { Inbox, welcomed, within } from './wait.mjs';

export function wsQuery({ user, tenant, channels = [], lastEventId }) {
  const query = new URLSearchParams();
  if (user !== undefined) query.set('user', user);
  if (tenant !== undefined) query.set('tenant', tenant);
  for (const channel of channels) query.append('channel', channel);
  if (lastEventId !== undefined) query.set('lastEventId', lastEventId);
  return `/ws?${query}`;
}

/**
 * Opens and reads `connected`; the inbox holds `{event, data, cursor, message}`, or `{binary}` for
 * binary messages.
 */
export async function openWs(demo, who, options = {}) {
  const socket = new WebSocket(demo.wsUrl + wsQuery(who), options);
  const client = new WsClient(socket);
  return welcomed(client);
}

/** The status, headers and body of a handshake that the server refuses. */
export function refusedWs(demo, who, options = {}) {
  const socket = new WebSocket(demo.wsUrl + wsQuery(who), options);
  const refused = new Promise((resolve, reject) => {
    socket.once('open', () => { socket.terminate(); reject(new Error('the handshake was accepted')); });
    socket.once('error', reject);
    socket.once('unexpected-response', (request, response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk) => { body += chunk; });
      response.once('end', () => { request.destroy(); resolve({ status: response.statusCode, headers: response.headers, body }); });
    });
  });
  return within(refused, () => 'a refusal');
}

export class WsClient {
  inbox = new Inbox();

  constructor(socket) {
    this.socket = socket;
    socket.on('message', (bytes, binary) => {
      if (binary) return this.inbox.push({ binary: bytes });
      const message = JSON.parse(bytes.toString());
      return this.inbox.push({ event: message.type, data: message.payload, cursor: message.id, message });
    });
    socket.on('error', (error) => this.inbox.end(error.message));
    this.closed = new Promise((resolve) => socket.once('close', (code, reason) => {
      this.inbox.end(`close ${code} ${reason}`);
      resolve({ code, reason: reason.toString() });
    }));
  }

  /** Sends an envelope. */
  send(type, payload, more = {}) {
    this.socket.send(JSON.stringify({ type, payload, ...more }));
  }

  /** Sends bytes as a text message, whatever they are. */
  sendText(bytes) {
    this.socket.send(bytes, { binary: false });
  }

  /** Writes bytes below the protocol: frames that no proper client makes. */
  sendRaw(bytes) {
    this.socket._socket.write(bytes);
  }

  next(type) {
    return this.inbox.next((i) => i.event === type, `a message of type ${type}`);
  }

  /** The close code and reason that the server sent. */
  closure(ms) {
    return within(this.closed, () => 'the close of the connection', ms);
  }

  close() {
    this.socket.terminate();
  }
}

/**
 * A masked frame with a zero mask, as a client must send it; `first` is the byte of flags and
 * opcode.
 */
export function frame(first, payload, { masked = true } = {}) {
  const body = Buffer.from(payload);
  const mask = masked ? 0x80 : 0;
  const head = body.length < 126
    ? Buffer.from([first, mask | body.length])
    : Buffer.from([first, mask | 126, body.length >> 8, body.length & 0xff]);
  return Buffer.concat([head, masked ? Buffer.alloc(4) : Buffer.alloc(0), body]);
}

/**
 * A handshake with exactly these header lines; resolves with the head of the answer and the socket.
 */
export function handshake(demo, path, lines) {
  const socket = net.connect(demo.port, '127.0.0.1');
  const answer = new Promise((resolve, reject) => {
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk) => {
      text += chunk;
      if (text.includes('\r\n\r\n')) resolve({ status: Number(text.split(' ')[1]), head: text.toLowerCase(), socket });
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`closed after: ${text}`)));
  });
  socket.write([`GET ${path} HTTP/1.1`, `host: 127.0.0.1:${demo.port}`, ...lines, '', ''].join('\r\n'));
  return within(answer, () => 'an answer to the handshake').finally(() => socket.destroy());
}
