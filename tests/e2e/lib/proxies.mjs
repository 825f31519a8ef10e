// nginx and HAProxy as docs/proxies/ configures them, in front of three demos.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accepts, freePort } from './stores.mjs';
import { until } from './wait.mjs';

const DOCUMENTED = new URL('../../../docs/proxies/', import.meta.url);
/** What nginx writes while it runs goes into the directory of the test. */
const PATHS = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

const KINDS = {
  nginx: {
    file: 'nginx.conf',
    own: (text, directory) => text.replace('http {', `http {\n${PATHS.map((name) => `${name}_temp_path ${directory}/${name};`).join('\n')}`),
    args: (file, directory) => ['-e', 'stderr', '-p', directory, '-c', file, '-g', `daemon off; pid ${directory}/nginx.pid;`],
  },
  haproxy: { file: 'haproxy.cfg', own: (text) => text, args: (file) => ['-f', file] },
};

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** The path of a proxy's program; undefined if it is not installed. */
export function program(kind) {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, kind)).find((path) => existsSync(path));
}

/**
 * Starts a proxy in front of three demos; use the result in place of a demo when opening a client.
 */
export async function startProxy(kind, demos) {
  const { file, own, args } = KINDS[kind];
  const directory = await mkdtemp(join(tmpdir(), `realtime-${kind}-`));
  const port = await freePort();
  const ports = { 8080: port, 8081: demos[0].port, 8082: demos[1].port, 8083: demos[2].port };
  const documented = await readFile(new URL(file, DOCUMENTED), 'utf8');
  const text = documented.replace(/127\.0\.0\.1:(808[0-3])/g, (_, from) => `127.0.0.1:${ports[from]}`);
  const path = join(directory, file);
  await writeFile(path, own(text, directory));
  const child = spawn(program(kind), args(path, directory), { stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk) => { said += chunk; });
  const ended = new Promise((resolve) => { child.once('close', resolve).once('error', resolve); });
  await until(() => child.exitCode !== null || accepts(port), `${kind} on port ${port}`);
  if (child.exitCode !== null) throw new Error(`${kind} ended: ${said}`);
  const close = async () => {
    // In order, so that nginx ends its workers.
    child.kill('SIGTERM');
    await ended;
    running.delete(child);
    await rm(directory, { recursive: true, force: true });
  };
  return { port, url: `http://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${port}`, close };
}
