// Socket.IO with the official library (the global `io` of socket.io.min.js): events are (data, cursor), asks are (data, ack).
import { refusalText } from './link.js';

const MEANING = {
  'io server disconnect': 'The server closed the connection.',
  'ping timeout': 'The server went silent.',
  'transport close': 'The connection was cut.',
  'transport error': 'The connection was cut.',
  'parse error': 'The server sent something that is not Socket.IO.',
};

export class SocketIoLink {
  #on;
  #cursor = '';
  #socket = null;

  constructor(on) {
    this.#on = on;
  }

  connect(identity) {
    this.disconnect();
    this.#on.state('connecting', '');
    const socket = globalThis.io({
      path: '/socket.io/',
      forceNew: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 15_000,
      // A function, so that every new attempt presents the newest place.
      auth: (present) => present({ ...identity, ...(this.#cursor && { lastEventId: this.#cursor }) }),
    });
    this.#socket = socket;
    const mine = (handler) => (...args) => { if (socket === this.#socket) handler(...args); };
    socket.on('disconnect', mine((reason) => this.#lost(socket, reason)));
    socket.on('connect_error', mine((error) => this.#refused(socket, error)));
    socket.onAny(mine((event, ...args) => this.#event(event, args)));
  }

  disconnect() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.disconnect();
  }

  forget() {
    this.#cursor = '';
  }

  #lost(socket, reason) {
    const why = MEANING[reason] ?? `Disconnected: ${reason}.`;
    if (socket.active) this.#on.state('connecting', `${why} Trying again.`);
    else this.#on.state('closed', why);
  }

  #refused(socket, error) {
    const status = Number(error.description); // the HTTP status, when a polling request was refused
    if (!socket.active) {
      this.#on.state('closed', `Refused: ${String(error.message).replace(/\.?$/, '.')}`);
    } else if (status >= 400 && status < 500) {
      socket.disconnect(); // the same request would be refused again
      this.#on.state('closed', refusalText(status, error.context?.responseText ?? ''));
    } else {
      this.#on.state('connecting', 'The server cannot be reached. Trying again.');
    }
  }

  #event(event, args) {
    const answer = typeof args.at(-1) === 'function' ? args.pop() : undefined;
    const cursor = args.length > 1 && typeof args.at(-1) === 'string' ? args.pop() : '';
    const data = args.length > 1 ? args : args[0];
    if (event === 'connected') {
      this.#place(cursor || data?.cursor);
      this.#on.welcome(data ?? {});
    } else if (event === 'cursor') {
      this.#place(cursor || (typeof data === 'string' ? data : data?.cursor ?? data?.id));
    } else {
      this.#place(cursor);
      this.#on.event({ event, data, answer });
    }
  }

  #place(cursor) {
    if (!cursor || cursor === this.#cursor) return;
    this.#cursor = cursor;
    this.#on.cursor(cursor);
  }
}
