// Socket.IO with the official library (the global `io` of socket.io.min.js): events are (data, cursor), asks are (data, ack).
import { askedDelay, LONGEST_WAIT, refusalText, seconds } from './link.js';

const FIRST_WAIT = 500;

const MEANING = {
  'io server disconnect': 'The server closed the connection.',
  'ping timeout': 'The server went silent.',
  'transport close': 'The connection was cut.',
  'transport error': 'The connection was cut.',
  'parse error': 'The server sent something that is not Socket.IO.',
};

export class SocketIoLink {
  #on;
  #id;
  #cursor;
  #socket = null;
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
    this.#on.state('connecting', '');
    const socket = globalThis.io({
      path: '/socket.io/',
      forceNew: true,
      query: { link: this.#id },
      reconnectionDelay: FIRST_WAIT,
      reconnectionDelayMax: LONGEST_WAIT,
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
    if (!socket.active) this.#on.state('closed', why);
    else if (this.#asked === undefined) this.#on.state('connecting', why, 'Trying again.');
    else this.#on.state('connecting', 'The server is restarting.', `Next try in ${seconds(this.#asked)}.`);
  }

  #refused(socket, error) {
    const status = Number(error.description); // the HTTP status, when a polling request was refused
    if (!socket.active) {
      this.#on.state('closed', `Refused: ${String(error.message).replace(/\.?$/, '.')}`);
    } else if (status >= 400 && status < 500) {
      socket.disconnect(); // the same request would be refused again
      this.#on.state('closed', refusalText(status, error.context?.responseText ?? ''));
    } else {
      this.#on.state('connecting', 'The server cannot be reached.', 'Trying again.');
    }
  }

  #event(event, args) {
    const answer = typeof args.at(-1) === 'function' ? args.pop() : undefined;
    const cursor = args.length > 1 && typeof args.at(-1) === 'string' ? args.pop() : '';
    const data = args.length > 1 ? args : args[0];
    if (event === 'connected') {
      this.#place(cursor || data?.cursor);
      if (this.#asked !== undefined) this.#pace(undefined);
      this.#on.welcome(data ?? {});
    } else if (event === 'cursor') {
      this.#place(cursor || (typeof data === 'string' ? data : data?.cursor ?? data?.id));
    } else {
      this.#place(cursor);
      if (event === 'reconnect') this.#pace(askedDelay(data));
      this.#on.event({ event, data, cursor, answer });
    }
  }

  /** Lets the library wait for exactly `delay` before its next try, or as it did from the beginning. */
  #pace(delay) {
    const manager = this.#socket.io;
    this.#asked = delay;
    manager.reconnectionDelay(delay ?? FIRST_WAIT);
    manager.reconnectionDelayMax(Math.max(delay ?? 0, LONGEST_WAIT));
    manager.randomizationFactor(delay === undefined ? 0.5 : 0);
  }

  #place(cursor) {
    if (!cursor || cursor === this.#cursor) return;
    this.#cursor = cursor;
    this.#on.cursor(cursor);
  }
}
