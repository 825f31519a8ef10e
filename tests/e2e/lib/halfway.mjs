// A TCP relay in front of the demo that lets HTTP pass and harms websockets once the server has agreed to them, as
// proxies do that know no websockets, or forget them.

import net from 'node:net';

/**
 * What becomes of a websocket behind its 101. (One that is cut between `3probe` and `5` is not here: socket.io-client has
 * paused its polling then and never takes it up again, with any server.)
 */
export const WAYS = {
  /** The client is told of a fault instead of the 101. */
  'is answered with a 502': ({ client, upstream }) => {
    client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    upstream.destroy();
  },
  'is answered with a 502 while the server is told nothing': ({ client, upstream }) => {
    client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    upstream.resume();
  },
  'is cut': ({ client, upstream, head }) => {
    client.write(head, () => { client.resetAndDestroy(); upstream.resetAndDestroy(); });
  },
  'loses what the client sends': (link) => { link.eat('up'); link.pass('down'); },
  'loses what the server sends': (link) => { link.pass('up'); link.eat('down'); },
  'loses everything': (link) => { link.eat('up'); link.eat('down'); },
};

/** Starts a relay; use what it returns in place of the demo when opening a client. */
export async function halfwayProxy(demo, way) {
  const sockets = new Set();
  const proxy = { gets: 0, websockets: 0, closed: 0 };
  const server = net.createServer((client) => {
    const upstream = net.connect({ port: demo.port, host: '127.0.0.1', noDelay: true });
    for (const [end, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(end);
      end.on('error', () => end.destroy());
      end.once('close', () => { sockets.delete(end); other.destroySoon(); });
    }
    client.on('data', (chunk) => { proxy.gets += chunk.toString('latin1').split(/^GET \S*transport=polling/m).length - 1; });
    client.once('data', (request) => {
      upstream.write(request);
      if (!/^upgrade: websocket/im.test(request.toString('latin1'))) {
        client.pipe(upstream);
        upstream.pipe(client);
        return;
      }
      proxy.websockets += 1;
      upstream.once('close', () => { proxy.closed += 1; });
      upstream.once('data', (head) => way(new Link(client, upstream, head)));
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return Object.assign(proxy, {
    port,
    url: `http://127.0.0.1:${port}`,
    wsUrl: `ws://127.0.0.1:${port}`,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  });
}

/** A websocket that the server has agreed to: `head` is its 101, which has not been passed on. */
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
    // Nobody goes on without an answer to the handshake.
    this.client.write(this.head);
    return [this.upstream, this.client];
  }
}
