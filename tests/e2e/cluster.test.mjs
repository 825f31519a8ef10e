// The cluster's page in headless Chromium: three nodes, one of which is killed under its clients.
// Writes target/screenshots/cluster-*.png.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';
import { openPage } from './lib/browser.mjs';
import { documentedSocket } from './lib/documented.mjs';
import { keep } from './lib/keep.mjs';
import { TRAVEL } from './lib/socketio.mjs';
import { unique, until, within } from './lib/wait.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const binary = process.env.REALTIME_CLUSTER ?? `${process.env.CARGO_TARGET_DIR ?? `${root}target`}/debug/realtime-cluster`;
const PROVIDERS = ['sse', 'ws', 'socket'];

/** Starts the cluster on a free port; it ends its nodes and its Redis itself. */
async function startCluster() {
  const env = { ...process.env };
  delete env.CARGO; // it would build the demo
  const child = spawn(binary, ['--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'], env });
  process.once('exit', () => child.kill('SIGTERM'));
  const exited = once(child, 'close');
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk) => { said += chunk; });
  await until(() => child.exitCode !== null || /listening on/.test(said), 'the address of the cluster', 30_000);
  const [, port] = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(said) ?? [];
  assert.ok(port, `the cluster ended: ${said}`);
  const stop = async () => {
    child.kill('SIGTERM');
    const [code] = await within(exited, () => `the end of the cluster, which said: ${said}`);
    return code;
  };
  return { port: Number(port), url: `http://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${port}`, stop, said: () => said };
}

const text = (page, selector) => page.locator(selector).textContent();
const number = async (page, selector) => Number(await text(page, selector));
const at = (page, provider) => page.getAttribute(`#client-${provider}`, 'data-node');

test('cluster: clients of a killed node continue at another one', async () => {
  const cluster = keep(await startCluster(), () => cluster.stop());
  const polling = keep(documentedSocket(cluster, unique('ann'), TRAVEL.polling));
  const browser = keep(await openPage(cluster));
  const { page } = browser;
  for (const n of [1, 2, 3]) await page.waitForSelector(`#node-${n}[data-state=ready]`);
  for (const provider of PROVIDERS) await page.waitForSelector(`#client-${provider}[data-node^=node-]`);
  await until(() => polling.seen.welcomes.length === 1, 'a welcome of the polling client');
  await page.click('#stream');
  await until(async () => await number(page, '#client-sse .arrived') > 5, 'the first numbers');
  await browser.screenshot('cluster-before', { fullPage: true });
  assert.deepEqual(browser.faults, []);

  const killed = await at(page, 'sse');
  await page.click(`#${killed} .kill`);
  await page.waitForSelector(`#${killed}[data-state=ended]`);
  const before = await number(page, '#stream-sent');
  for (const provider of PROVIDERS) {
    await page.waitForFunction(([id, node]) => {
      const now = document.querySelector(`#client-${id}`).dataset.node;
      return now && now !== node;
    }, [provider, killed]);
  }
  await until(async () => await number(page, '#stream-sent') > before + 5, 'further numbers');
  await browser.screenshot('cluster-after', { fullPage: true });
  await page.selectOption('#send-from', await at(page, 'ws'));
  await page.selectOption('#send-kind', 'room');
  await page.click('#send button');
  for (const provider of PROVIDERS) await page.locator(`#client-${provider} .trail`, { hasText: 'said' }).waitFor();

  await page.click('#stream'); // stops it
  for (const provider of PROVIDERS) {
    await until(async () => await number(page, `#client-${provider} .missing`) === 0, `all numbers over ${provider}`);
    assert.equal(await number(page, `#client-${provider} .twice`), 0, provider);
  }
  assert.equal(await number(page, '#client-sse .resumed'), 1);

  await page.click(`#${killed} .start`);
  await page.waitForSelector(`#${killed}[data-state=ready]`);
  assert.ok(polling.seen.welcomes.slice(1).every(({ resumed }) => resumed));
  assert.equal(await cluster.stop(), 0, cluster.said());
});
