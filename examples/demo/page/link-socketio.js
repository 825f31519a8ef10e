// Socket.IO over a WebSocket, without its client library: events are (data, cursor), asks are
// (data, ack). Reconnects with backoff.
import { askedDelay, Link, LONGEST_WAIT, NEW_TOKEN, seconds } from './link.js';
import { answerPacket, connectPacket, DISCONNECT, eventPacket, PONG, SocketIoReader } from './socketio-wire.js';

const FIRST_WAIT = 500;
/** The time from the WebSocket's request to the answer of CONNECT, in milliseconds. */
const CONNECT_TIMEOUT = 20_000;

export class SocketIoLink extends Link {
  #socket = null;
  #retry = 0;
  #silenceTimer = 0;
  #silence = 0; // the longest silence of the server, in milliseconds
  #asked; // the delay that the server asked for, in milliseconds

  disconnect() {
    clearTimeout(this.#retry);
    clearTimeout(this.#silenceTimer);
    const socket = this.#socket;
    this.#socket = null; // its later events are ignored
    if (socket?.readyState === WebSocket.OPEN) socket.send(DISCONNECT);
    socket?.close(1000);
  }

  send(event, data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(eventPacket(event, data));
    return true;
  }

  open(identity) {
    const url = new URL(`/socket.io/?${new URLSearchParams({ EIO: '4', transport: 'websocket', link: this.id })}`, location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url);
    const reader = new SocketIoReader();
    let opened = false;
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    this.#expectWithin(socket, CONNECT_TIMEOUT);
    socket.onopen = () => { opened = true; };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      let packet;
      try {
        packet = reader.read(data);
      } catch {
        this.#retryLater(identity, 'The server sent something that is not Socket.IO.');
        return;
      }
      if (packet) this.#packet(socket, identity, packet);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      // A browser hides the status of a refused handshake.
      this.#retryLater(identity, opened ? 'The connection was cut.' : 'The server refused or cannot be reached.');
    };
  }

  #packet(socket, identity, packet) {
    switch (packet.type) {
      case 'open':
        this.#silence = packet.pingInterval + packet.pingTimeout;
        socket.send(connectPacket({ ...identity, ...(this.cursor && { lastEventId: this.cursor }) }));
        break;
      case 'ping':
        this.#expectWithin(socket, this.#silence);
        socket.send(PONG);
        break;
      case 'connect':
        this.#expectWithin(socket, this.#silence);
        break;
      case 'refused':
        if (packet.data?.retryAfterMs === undefined) {
          this.#finish(`Refused: ${packet.message.replace(/\.?$/, '.')}`);
        } else {
          this.#asked = packet.data.retryAfterMs;
          this.#retryLater(identity, `Refused: ${packet.message.replace(/\.?$/, '.')}`);
        }
        break;
      case 'disconnect':
        this.#finish('The server closed the connection.');
        break;
      case 'close':
        this.#retryLater(identity, 'The server closed the session.');
        break;
      case 'event':
        this.#event(socket, packet);
        break;
      default: // an answer, or a packet of another namespace: this page uses neither
    }
  }

  #event(socket, { event, args, id }) {
    const answer = id === undefined ? undefined : (value) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(answerPacket(id, value));
    };
    const cursor = args.length > 1 && typeof args.at(-1) === 'string' ? args.pop() : '';
    const data = args.length > 1 ? args : args[0];
    if (event === 'connected') {
      this.failures = 0;
      this.#keepCursor(cursor || data?.cursor);
      this.on.welcome(data ?? {});
    } else if (event === 'cursor') {
      this.#keepCursor(cursor || data);
    } else {
      this.#keepCursor(cursor);
      if (event === 'reconnect') this.#asked = askedDelay(data);
      if (event === 'expiring') this.send('refresh', { token: NEW_TOKEN });
      this.on.event({ event, data, cursor, answer });
    }
  }

  /** Closes the connection when the server is silent for this long. */
  #expectWithin(socket, ms) {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => socket.close(4000, 'silent'), ms);
  }

  #finish(why) {
    this.disconnect();
    this.on.state('closed', why);
  }

  #retryLater(identity, why) {
    const wait = this.#asked ?? Math.min(FIRST_WAIT * 2 ** this.failures, LONGEST_WAIT) * (0.75 + Math.random() / 2);
    this.disconnect();
    this.failures += 1;
    this.on.state('connecting', this.#asked === undefined ? why : `${why} It says when to reconnect.`, `Next try in ${seconds(wait)}.`);
    this.#asked = undefined;
    this.#retry = setTimeout(() => this.open(identity), wait);
  }

  #keepCursor(cursor) {
    if (typeof cursor !== 'string' || !cursor || cursor === this.cursor) return;
    this.cursor = cursor;
    this.on.cursor(cursor);
  }
}
