// A TCP relay in front of the demo that passes HTTP on and breaks websockets once the server has
// accepted them, as proxies do that know no websockets, or forget them.

import { startRelay } from './tcp.mjs';

/**
 * The fate of a websocket after its 101. (A reset between `3probe` and `5` is not here:
 * socket.io-client has paused its polling then and never resumes it, with any server.)
 */
export const WAYS = {
  /** The client gets an error instead of the 101. */
  'is answered with a 502': ({ client, upstream }) => {
    client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    upstream.destroy();
  },
  'is answered with a 502 while the server gets nothing': ({ client, upstream }) => {
    client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    upstream.resume();
  },
  'is reset': ({ client, upstream, head }) => {
    client.write(head, () => { client.resetAndDestroy(); upstream.resetAndDestroy(); });
  },
  'loses what the client sends': (link) => { link.eat('up'); link.pass('down'); },
  'loses what the server sends': (link) => { link.pass('up'); link.eat('down'); },
  'loses everything': (link) => { link.eat('up'); link.eat('down'); },
};

/** Starts a relay; use the result in place of the demo when opening a client. */
export async function halfwayProxy(demo, way) {
  const counts = { gets: 0, websockets: 0, closed: 0 };
  const relay = await startRelay((client, dial) => {
    const upstream = dial(demo);
    for (const [end, other] of [[client, upstream], [upstream, client]]) {
      end.on('error', () => end.destroy());
      end.once('close', () => other.destroySoon());
    }
    client.on('data', (chunk) => { relay.gets += chunk.toString('latin1').split(/^GET \S*transport=polling/m).length - 1; });
    client.once('data', (request) => {
      upstream.write(request);
      if (!/^upgrade: websocket/im.test(request.toString('latin1'))) {
        client.pipe(upstream);
        upstream.pipe(client);
        return;
      }
      relay.websockets += 1;
      upstream.once('close', () => { relay.closed += 1; });
      upstream.once('data', (head) => way(new Link(client, upstream, head)));
    });
  });
  return Object.assign(relay, counts);
}

/** A websocket that the server has accepted: `head` is its 101, which has not been passed on. */
class Link {
  constructor(client, upstream, head) {
    Object.assign(this, { client, upstream, head });
  }

  pass(side) {
    const [from, to] = this.#ends(side);
    from.pipe(to);
  }

  eat(side) {
    this.#ends(side)[0].resume();
  }

  #ends(side) {
    if (side === 'up') return [this.client, this.upstream];
    // The client waits for the answer to its handshake.
    this.client.write(this.head);
    return [this.upstream, this.client];
  }
}
