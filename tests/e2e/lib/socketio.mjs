// A Socket.IO client (npm's socket.io-client) that keeps what it received.

import { io } from 'socket.io-client';
import { Inbox, welcomed, within } from './wait.mjs';

/** The three ways a client can travel: never upgraded, never anything else, and the default. */
export const TRAVEL = { websocket: ['websocket'], polling: ['polling'], upgrade: ['polling', 'websocket'] };

export function dial(demo, { user, tenant, rooms, ...auth }, transports = TRAVEL.websocket, options = {}) {
  const socket = io(demo.url, {
    auth: { user, tenant, rooms, ...auth }, transports, forceNew: true, reconnection: false, ...options,
  });
  return new SocketClient(socket);
}

/** Connects and reads `connected`. */
export async function openSocket(demo, who, transports, options) {
  const client = dial(demo, who, transports, options);
  return welcomed(client);
}

/** The error of a connection that the server refuses. */
export async function refusedSocket(demo, who, transports, options) {
  const client = dial(demo, who, transports, options);
  try {
    return await within(client.refused, () => 'a connect_error');
  } finally {
    client.close();
  }
}

export class SocketClient {
  inbox = new Inbox();

  constructor(socket) {
    this.socket = socket;
    socket.onAny((event, ...args) => {
      const ack = typeof args.at(-1) === 'function' ? args.pop() : null;
      this.inbox.push({ event, data: args[0], cursor: args[1], args, ack });
    });
    socket.on('disconnect', (reason) => this.inbox.end(`disconnect: ${reason}`));
    this.refused = new Promise((resolve) => socket.once('connect_error', (error) => {
      this.inbox.end(`connect_error: ${error.message}`);
      resolve(error);
    }));
    this.disconnected = new Promise((resolve) => socket.once('disconnect', resolve));
  }

  next(event) {
    return this.inbox.next((i) => i.event === event, `the event ${event}`);
  }

  emit(event, ...args) {
    this.socket.emit(event, ...args);
  }

  /** Emits and waits for the server's acknowledgement. */
  ask(event, ...args) {
    return this.socket.timeout(15_000).emitWithAck(event, ...args);
  }

  get transport() {
    return this.socket.io.engine.transport.name;
  }

  close() {
    this.socket.disconnect();
  }
}
