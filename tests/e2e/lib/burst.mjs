// Many sends on one HTTP connection, pipelined: the server handles them one after the other, so
// their order is known.

import net from 'node:net';
import { within } from './wait.mjs';

/**
 * Posts every body to `path` in order; resolves with the number of 200 answers once all are
 * answered.
 */
export async function pipeline(demo, path, bodies, ms = 120_000) {
  const socket = net.connect(demo.port, '127.0.0.1');
  let answers = 0;
  let good = 0;
  let tail = '';
  const done = new Promise((resolve, reject) => {
    socket.setEncoding('latin1').on('data', (chunk) => {
      const text = tail + chunk;
      for (const [, status] of text.matchAll(/HTTP\/1\.1 (\d{3}) /g)) {
        answers += 1;
        if (status === '200') good += 1;
      }
      tail = text.slice(-12); // a status line may be cut in two, and none fits into 12 characters
      if (answers >= bodies.length) resolve(good);
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`closed after ${answers} of ${bodies.length} answers`)));
  });
  const written = (async () => {
    for (const body of bodies) {
      const json = JSON.stringify(body);
      const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1:${demo.port}\r\ncontent-type: application/json\r\n`;
      if (!socket.write(`${head}content-length: ${Buffer.byteLength(json)}\r\n\r\n${json}`)) {
        await new Promise((resolve) => socket.once('drain', resolve));
      }
    }
  })();
  try {
    await within(Promise.race([done, written.then(() => done)]), () => `${bodies.length} answers (have ${answers})`, ms);
    return good;
  } finally {
    socket.destroy();
  }
}
