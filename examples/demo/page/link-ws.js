// The raw WebSocket: JSON messages {"type","payload","id"}, answers to asks, and reconnecting with
// backoff.
import { askedDelay, decode, Link, LONGEST_WAIT, NEW_TOKEN, seconds } from './link.js';

const FIRST_WAIT = 500;

// After these codes a new attempt would be closed likewise: normal closure, protocol and policy
// errors.
const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010]);

const MEANING = {
  1000: 'The server closed the connection.',
  1001: 'The server is going away.',
  1002: 'Protocol error.',
  1003: 'The server does not take this kind of message.',
  1007: 'A message was not valid UTF-8.',
  1008: 'Against the server’s policy.',
  1009: 'A message was too large.',
  1011: 'The server had an internal error.',
  1012: 'The server is restarting.',
  1013: 'The server asks to try again later.',
};

export class WsLink extends Link {
  #socket = null;
  #timer = 0;
  #asked; // the delay that the server asked for, in milliseconds

  disconnect() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null; // its later events are ignored
    socket?.close(1000);
  }

  send(event, data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify({ type: event, payload: data }));
    return true;
  }

  open(identity) {
    const query = new URLSearchParams({ ...identity, link: this.id });
    if (this.cursor) query.set('lastEventId', this.cursor);
    const url = new URL(`/ws?${query}`, location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';

    const socket = new WebSocket(url);
    let opened = false;
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => { opened = true; };
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#message(socket, data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      // A browser hides the status of a refused handshake, so this can only name what is likely.
      const why = !opened
        ? 'The server refused or cannot be reached.'
        : `${code === 1006 ? 'The connection was cut.' : MEANING[code] ?? 'The server closed the connection.'}${reason ? ` It says: ${reason}.` : ''}${code === 1006 ? '' : ` (${code})`}`;
      if (FINAL.has(code)) return this.on.state('closed', why);
      const wait = this.#asked ?? Math.min(FIRST_WAIT * 2 ** this.failures, LONGEST_WAIT) * (0.75 + Math.random() / 2);
      this.failures += 1;
      this.#asked = undefined;
      this.on.state('connecting', why, `Next try in ${seconds(wait)}.`);
      this.#timer = setTimeout(() => this.open(identity), wait);
    };
  }

  #message(socket, raw) {
    if (typeof raw !== 'string') return this.on.event({ event: '(binary)', data: raw });
    const message = decode(raw);
    if (typeof message?.type !== 'string') return this.on.event({ event: '(text)', data: message });

    const { type, payload, id, ack } = message;
    if (type === 'connected') {
      this.failures = 0;
      this.#keepCursor(id || payload?.cursor);
      this.on.welcome(payload ?? {});
      return;
    }
    this.#keepCursor(id);
    if (type === 'cursor') return;
    if (type === 'reconnect') this.#asked = askedDelay(payload);
    if (type === 'expiring') this.send('refresh', { token: NEW_TOKEN });
    const answer = ack === undefined || type === 'ack' ? undefined : (value) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: 'ack', ack, payload: value }));
    };
    this.on.event({ event: type, data: payload, cursor: id, answer });
  }

  #keepCursor(cursor) {
    if (!cursor || cursor === this.cursor) return;
    this.cursor = cursor;
    this.on.cursor(cursor);
  }
}
