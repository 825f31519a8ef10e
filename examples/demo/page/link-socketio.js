// Socket.IO over a WebSocket, spoken by hand: events are (data, cursor), asks are (data, ack). It comes back with backoff.
import { askedDelay, LONGEST_WAIT, seconds } from './link.js';
import { answerPacket, connectPacket, DISCONNECT, eventPacket, PONG, SocketIoReader } from './socketio-wire.js';

const FIRST_WAIT = 500;
/** How long the server may take from the WebSocket's request to the answer of CONNECT, in milliseconds. */
const CONNECT_TIMEOUT = 20_000;

export class SocketIoLink {
  #on;
  #id;
  #cursor;
  #socket = null;
  #retry = 0;
  #alarm = 0; // of a server that has gone silent
  #silence = 0; // how long it may be silent, in milliseconds
  #failures = 0;
  #asked; // how long the server wants us to stay away, in milliseconds

  constructor(on, id, cursor = '') {
    this.#on = on;
    this.#id = id;
    this.#cursor = cursor;
  }

  get cursor() {
    return this.#cursor;
  }

  connect(identity) {
    this.disconnect();
    this.#failures = 0;
    this.#on.state('connecting', '');
    this.#open(identity);
  }

  disconnect() {
    clearTimeout(this.#retry);
    clearTimeout(this.#alarm);
    const socket = this.#socket;
    this.#socket = null; // its late events are no longer ours
    if (socket?.readyState === WebSocket.OPEN) socket.send(DISCONNECT);
    socket?.close(1000);
  }

  forget() {
    this.#cursor = '';
  }

  send(event, data) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(eventPacket(event, data));
    return true;
  }

  #open(identity) {
    const url = new URL(`/socket.io/?${new URLSearchParams({ EIO: '4', transport: 'websocket', link: this.#id })}`, location.href);
    url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url);
    const reader = new SocketIoReader();
    let opened = false;
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    this.#watch(socket, CONNECT_TIMEOUT);
    socket.onopen = () => { opened = true; };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      let packet;
      try {
        packet = reader.read(data);
      } catch {
        this.#again(identity, 'The server sent something that is not Socket.IO.');
        return;
      }
      if (packet) this.#packet(socket, identity, packet);
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      // A browser hides the status of a refused handshake.
      this.#again(identity, opened ? 'The connection was cut.' : 'The server refused or cannot be reached.');
    };
  }

  #packet(socket, identity, packet) {
    switch (packet.type) {
      case 'open':
        this.#silence = packet.pingInterval + packet.pingTimeout;
        socket.send(connectPacket({ ...identity, ...(this.#cursor && { lastEventId: this.#cursor }) }));
        break;
      case 'ping':
        this.#watch(socket, this.#silence);
        socket.send(PONG);
        break;
      case 'connect':
        this.#watch(socket, this.#silence);
        break;
      case 'refused':
        if (packet.data?.retryAfterMs === undefined) {
          this.#end(`Refused: ${packet.message.replace(/\.?$/, '.')}`);
        } else {
          this.#asked = packet.data.retryAfterMs;
          this.#again(identity, `Refused: ${packet.message.replace(/\.?$/, '.')}`);
        }
        break;
      case 'disconnect':
        this.#end('The server closed the connection.');
        break;
      case 'close':
        this.#again(identity, 'The server closed the session.');
        break;
      case 'event':
        this.#event(socket, packet);
        break;
      default: // an answer, or another namespace's: this page asks for neither
    }
  }

  #event(socket, { event, args, id }) {
    const answer = id === undefined ? undefined : (value) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(answerPacket(id, value));
    };
    const cursor = args.length > 1 && typeof args.at(-1) === 'string' ? args.pop() : '';
    const data = args.length > 1 ? args : args[0];
    if (event === 'connected') {
      this.#failures = 0;
      this.#place(cursor || data?.cursor);
      this.#on.welcome(data ?? {});
    } else if (event === 'cursor') {
      this.#place(cursor || data);
    } else {
      this.#place(cursor);
      if (event === 'reconnect') this.#asked = askedDelay(data);
      this.#on.event({ event, data, cursor, answer });
    }
  }

  /** Takes a server that says nothing for so long for gone. */
  #watch(socket, ms) {
    clearTimeout(this.#alarm);
    this.#alarm = setTimeout(() => socket.close(4000, 'silent'), ms);
  }

  #end(why) {
    this.disconnect();
    this.#on.state('closed', why);
  }

  #again(identity, why) {
    const wait = this.#asked ?? Math.min(FIRST_WAIT * 2 ** this.#failures, LONGEST_WAIT) * (0.75 + Math.random() / 2);
    this.disconnect();
    this.#failures += 1;
    this.#on.state('connecting', this.#asked === undefined ? why : `${why} It says when to come back.`, `Next try in ${seconds(wait)}.`);
    this.#asked = undefined;
    this.#retry = setTimeout(() => this.#open(identity), wait);
  }

  #place(cursor) {
    if (typeof cursor !== 'string' || !cursor || cursor === this.#cursor) return;
    this.#cursor = cursor;
    this.#on.cursor(cursor);
  }
}
