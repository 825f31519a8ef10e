// Servers of a test's own that keep a log, on free ports.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from './wait.mjs';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** Returns a port that nothing listens on now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Returns whether something accepts connections on a port. */
export function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (answer) => { socket.destroy(); resolve(answer); };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}

/** Starts a server in a directory of its own; `url` is its address, `close()` ends it. */
async function startServer(name, scheme, argumentsOf) {
  const directory = await mkdtemp(join(tmpdir(), 'realtime-store-'));
  const port = await freePort();
  const child = spawn(name, await argumentsOf(port, directory), { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
  running.add(child);
  const ended = new Promise((resolve) => { child.once('close', resolve).once('error', resolve); });
  await until(() => accepts(port), `${name} on port ${port}`);
  const close = async () => {
    child.kill('SIGKILL');
    await ended;
    running.delete(child);
    await rm(directory, { recursive: true, force: true });
  };
  return { url: `${scheme}://127.0.0.1:${port}`, close };
}

/** Starts a Redis that keeps what it is sent. */
export function startRedis() {
  return startServer('redis-server', 'redis', (port, directory) => (
    ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory, '--save', '', '--appendonly', 'yes']));
}

/** Starts a NATS with JetStream. */
export function startNats() {
  return startServer('nats-server', 'nats', (port, directory) => (
    ['--port', `${port}`, '--addr', '127.0.0.1', '--jetstream', '--store_dir', directory]));
}
