// A redis-server of a test's own, on a free port.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './wait.mjs';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** Returns a port that nothing listens on now. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Returns whether something accepts connections on a port. */
function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (answer) => { socket.destroy(); resolve(answer); };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

/** Starts a server that keeps what it is sent; `url` is its address, `close()` ends it. */
export async function startRedis() {
  const directory = await mkdtemp(join(tmpdir(), 'realtime-redis-'));
  const port = await freePort();
  const child = spawn('redis-server', ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory, '--save', '', '--appendonly', 'yes'], { stdio: 'ignore' });
  running.add(child);
  const ended = new Promise((resolve) => { child.once('close', resolve).once('error', resolve); });
  await until(() => accepts(port), `Redis on port ${port}`);
  const close = async () => {
    child.kill('SIGKILL');
    await ended;
    running.delete(child);
    await rm(directory, { recursive: true, force: true });
  };
  return { url: `redis://127.0.0.1:${port}`, close };
}
