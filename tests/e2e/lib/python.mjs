// A client of python-socketio as a child process.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Inbox } from './wait.mjs';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const python = process.env.REALTIME_PYTHON ?? file('../../../.tools/venv/bin/python');
const running = new Set();

process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** Starts one; `inbox` gets `[event, ...arguments]` for all that happens to it. */
export function startPython(url, user, ...transports) {
  const child = spawn(python, [file('../python/client.py'), url, user, ...transports], { stdio: ['pipe', 'pipe', 'pipe'] });
  running.add(child);
  const inbox = new Inbox();
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (chunk) => { errors += chunk; });
  child.once('error', (error) => inbox.end(error.message));
  child.once('close', () => { running.delete(child); inbox.end(`python ended: ${errors}`); });
  child.stdin.on('error', () => {});
  createInterface(child.stdout).on('line', (line) => inbox.push(JSON.parse(line)));
  return {
    inbox,
    tell: (what) => child.stdin.write(`${JSON.stringify(what)}\n`),
    /** The arguments of the next event of this name. */
    next: async (name) => (await inbox.next(([event]) => event === name, `python's ${name}`)).slice(1),
    close: () => child.kill('SIGKILL'),
  };
}
