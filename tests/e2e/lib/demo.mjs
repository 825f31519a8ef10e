// The demo server as a child process on a free port, and its HTTP interface.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { within } from './wait.mjs';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const built = (name) => `${process.env.CARGO_TARGET_DIR ?? `${root}target`}/debug/${name}`;
const binary = process.env.REALTIME_DEMO ?? built('realtime-demo');
const running = new Set();

// Whatever ends this process, the servers it started end with it.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

/**
 * Starts the demo and resolves once it prints its address. Without `--drain` and `--hold` it does
 * neither.
 */
export function startDemo(...args) {
  const drain = [...(args.includes('--drain') ? [] : ['--drain', '0']), ...(args.includes('--hold') ? [] : ['--hold', '0'])];
  return start(binary, [...drain, ...args]);
}

/** Starts a program of `examples/src/bin`. */
export const startExample = (name, ...args) => start(built(name), args);

async function start(program, args) {
  const child = spawn(program, ['--listen', '127.0.0.1:0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let out = '';
  const exited = new Promise((resolve) => child.once('close', (code, signal) => {
    running.delete(child);
    resolve({ code, signal });
  }));
  const address = new Promise((resolve, reject) => {
    const read = (chunk) => {
      out += chunk;
      const found = /https?:\/\/127\.0\.0\.1:(\d+)/.exec(out);
      if (found) resolve(Number(found[1]));
    };
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', (chunk) => { out += chunk; });
    child.once('error', reject);
    exited.then(({ code, signal }) => reject(new Error(`the demo ended (${code ?? signal}): ${out}`)));
  });
  const port = await within(address, () => `the demo's address on stdout, which said: ${out}`);
  return new Demo(child, port, exited, () => out);
}

class Demo {
  constructor(child, port, exited, output) {
    this.child = child;
    this.port = port;
    this.exited = exited;
    this.output = output;
    const s = output().includes(`https://127.0.0.1:${port}`) ? 's' : '';
    this.url = `http${s}://127.0.0.1:${port}`;
    this.wsUrl = `ws${s}://127.0.0.1:${port}`;
  }

  /** Asks the server to stop as a terminal's ctrl-c does, and by force if it does not. */
  async stop() {
    this.child.kill('SIGINT');
    try {
      return await within(this.exited, () => 'the demo stopping on SIGINT', 10_000);
    } finally {
      this.child.kill('SIGKILL');
    }
  }

  /**
   * A request with a JSON body (or none), answered `{status, headers, body}`; `body` is JSON if it
   * says so.
   */
  async request(method, path, body) {
    const init = { method, headers: {} };
    if (body !== undefined) {
      init.headers['content-type'] = 'application/json';
      init.body = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
    }
    const response = await fetch(this.url + path, init);
    const text = await response.text();
    const json = response.headers.get('content-type')?.includes('json');
    return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
  }

  async #ok(method, path, body) {
    const answer = await this.request(method, path, body);
    assert.equal(answer.status, 200, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /** Sends over one provider and returns its receipt. */
  async send(provider, target, event, data, more = {}) {
    const { receipts } = await this.#ok('POST', '/api/send', { provider, target, event, data, ...more });
    assert.equal(receipts.length, 1);
    assert.equal(receipts[0].provider, provider);
    assert.ok(receipts[0].receipt, JSON.stringify(receipts[0]));
    return receipts[0].receipt;
  }

  async ask(body) {
    return (await this.#ok('POST', '/api/ask', body)).acks;
  }

  async stats(provider) {
    return (await this.#ok('GET', '/api/stats')).providers[provider];
  }

  join(user, room) {
    return this.#ok('POST', '/api/rooms/join', { user, room });
  }

  leave(user, room) {
    return this.#ok('POST', '/api/rooms/leave', { user, room });
  }

  async rooms(user) {
    return (await this.#ok('GET', `/api/rooms?user=${encodeURIComponent(user)}`)).rooms;
  }
}
