// The page of the example `jwt` in Chromium: a token as a subprotocol, and a ticket.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openPage } from './lib/browser.mjs';
import { startExample } from './lib/demo.mjs';

let server;
before(async () => { server = await startExample('jwt'); });
after(() => server?.stop());

test('tokens: a browser connects without a token in a URL', async () => {
  const view = await openPage(server);
  const { page } = view;
  const urls = [];
  page.on('request', (request) => urls.push(request.url()));
  page.on('websocket', (socket) => urls.push(socket.url()));
  const shown = (text) => page.waitForSelector(`li:text-is("${text}")`);
  await page.click('#ann');
  await shown('websocket open: bearer');
  await shown('websocket connected: connected');
  await shown('sse connected: connected');
  await page.click('#send');
  await shown('websocket published: hello');
  await shown('sse published: hello');
  assert.ok(urls.some((url) => url.includes('/sse?ticket=')) && urls.some((url) => url.endsWith('/ws')), `${urls}`);
  assert.ok(urls.every((url) => !url.includes('eyJ')), `${urls}`);
  assert.deepEqual(view.faults.filter((fault) => !fault.includes('favicon')), []);
  await view.close();
});
