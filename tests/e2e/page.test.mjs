// The demo's page in headless Chromium. Writes target/screenshots/*.png.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { makeCertificate } from './lib/certificate.mjs';
import { startDemo } from './lib/demo.mjs';
import { allOpen, connect, PROVIDERS, row, send, withPage } from './lib/page.mjs';
import { openSocket } from './lib/socketio.mjs';
import { rawSse, sseQuery } from './lib/sse.mjs';
import { unique } from './lib/wait.mjs';

let demo;
before(async () => { demo = await startDemo(); });
after(() => demo?.stop());

test('page: connects on load and shows first events', () => withPage(demo, {}, async (page, browser) => {
  await allOpen(page);
  for (const provider of PROVIDERS) await page.waitForSelector(row(provider, 'connected'));
  await browser.screenshot('load');
}));

test('page: each panel shows the events of its transport', () => withPage(demo, {}, async (page, browser) => {
  const { user, tenant } = await connect(page);
  for (const provider of PROVIDERS) {
    await send(page, { over: [provider], kind: 'user', name: user, event: `only:${provider}`, data: `{"over": "${provider}"}` });
    await page.waitForSelector(row(provider, `only:${provider}`));
    await page.waitForSelector(`[data-testid=receipt-${provider}][data-outcome=good]`);
    for (const other of PROVIDERS.filter((name) => name !== provider)) {
      assert.equal(await page.locator(row(other, `only:${provider}`)).count(), 0, `${other} showed what was for ${provider}`);
    }
  }
  await send(page, { kind: 'tenant', name: tenant, event: 'to:tenant' });
  await send(page, { kind: 'all', event: 'to:all' });
  for (const provider of PROVIDERS) {
    await page.waitForSelector(row(provider, 'to:tenant'));
    await page.waitForSelector(row(provider, 'to:all'));
    assert.equal(await page.locator(row(provider, 'to:all')).count(), 1);
    assert.equal(await page.getAttribute(`[data-testid=receipt-${provider}]`, 'data-outcome'), 'good');
  }
  await send(page, { kind: 'user', name: 'somebody else', event: 'to:other' });
  await page.waitForFunction(() => /matched 0/.test(document.querySelector('#receipts').textContent));
  await send(page, { kind: 'all', event: 'to:end' });
  for (const provider of PROVIDERS) {
    await page.waitForSelector(row(provider, 'to:end'));
    assert.equal(await page.locator(row(provider, 'to:other')).count(), 0);
  }
  await browser.screenshot('page', { fullPage: true });
}));

test('page: send over all transports is one record', () => withPage(demo, {}, async (page) => {
  const { user, tenant } = await connect(page);
  const targets = [{ kind: 'user', name: user }, { kind: 'tenant', name: tenant }, { kind: 'all' }];
  const asked = [];
  page.on('request', (request) => { if (request.url().endsWith('/api/send')) asked.push(request.postDataJSON()); });
  const shown = async (event) => { for (const provider of PROVIDERS) await page.waitForSelector(row(provider, event)); };
  for (const target of targets) {
    await send(page, { ...target, event: `all:${target.kind}` });
    await shown(`all:${target.kind}`);
  }
  await send(page, { kind: 'user', name: user, event: 'all:end' });
  // In order, so that all earlier events have arrived.
  await shown('all:end');
  for (const provider of PROVIDERS) {
    for (const { kind } of targets) assert.equal(await page.locator(row(provider, `all:${kind}`)).count(), 1, `${kind} over ${provider}`);
  }
  assert.deepEqual(asked.map(({ provider }) => provider), Array(4).fill(undefined), 'each is one request, for no provider in particular');
}));

test('page: text is shown as text, never as markup', () => withPage(demo, {}, async (page) => {
  const { user } = await connect(page);
  await send(page, { kind: 'user', name: user, event: '<img src=x onerror=alert(1)>', data: '"<script>document.title=1</script>"' });
  for (const provider of PROVIDERS) {
    await page.waitForFunction((id) => document.querySelector(`#panel-${id}`).textContent.includes('<script>'), provider);
    assert.equal(await page.locator(`#panel-${provider} img, #panel-${provider} script`).count(), 0);
  }
}));

test('page: room events arrive between join and leave', () => withPage(demo, {}, async (page) => {
  await connect(page);
  const room = unique('room');
  await page.fill('#room-name', room);
  await page.click('#room-join');
  await page.waitForSelector(`#rooms-list [data-room="${room}"]`);
  await send(page, { kind: 'room', name: room, event: 'in:room' });
  for (const provider of PROVIDERS) await page.waitForSelector(row(provider, 'in:room'));
  await page.click('#room-leave');
  await page.waitForSelector(`#rooms-list [data-room="${room}"]`, { state: 'detached' });
  await send(page, { kind: 'room', name: room, event: 'out:room' });
  await page.waitForFunction(() => /matched 0/.test(document.querySelector('#receipts').textContent));
  await send(page, { kind: 'all', event: 'after:room' });
  for (const provider of PROVIDERS) {
    await page.waitForSelector(row(provider, 'after:room'));
    assert.equal(await page.locator(row(provider, 'out:room')).count(), 0);
  }
}));

test('page: text said to a room shows once on every panel', () => withPage(demo, {}, async (page) => {
  await connect(page);
  const room = unique('room');
  await page.fill('#room-name', room);
  await page.click('#room-join');
  await page.waitForSelector(`#rooms-list [data-room="${room}"]`);
  const said = (provider, text) => page.locator(row(provider, 'said'), { hasText: text });
  for (const over of ['ws', 'socket']) {
    const text = `over ${over}`;
    await page.selectOption('#say-over', over);
    await page.fill('#say-text', text);
    await page.click('#say-submit');
    for (const provider of PROVIDERS) await said(provider, text).first().waitFor();
  }
  // In order, so that all earlier events have arrived.
  await send(page, { kind: 'room', name: room, event: 'after:say' });
  for (const provider of PROVIDERS) {
    await page.waitForSelector(row(provider, 'after:say'));
    for (const over of ['ws', 'socket']) assert.equal(await said(provider, `over ${over}`).count(), 1, `${over} to ${provider}`);
  }
}));

test('page: ask shows every device with its answer and time', () => withPage(demo, {}, async (page, browser) => {
  const { user } = await connect(page);
  const device = await openSocket(demo, { user });
  const silent = await openSocket(demo, { user });
  const received = device.next('request:status').then(({ ack }) => ack({ answer: 'from another device' }));
  await page.fill('#ask-timeout', '1500');
  await page.click('#ask-submit');
  await received;
  await page.waitForFunction(() => document.querySelectorAll('#ask-results tr').length === 4);
  const rows = await page.$$eval('#ask-results tr', (list) => list.map(({ dataset, textContent }) => ({ ...dataset, text: textContent })));
  const of = (one) => rows.find((found) => found.connection === one.connected.data.connectionId);
  assert.equal(of(device).status, 'answered');
  assert.match(of(device).text, /from another device/);
  assert.equal(of(silent).status, 'timedOut');
  const own = rows.filter((found) => /this page/.test(found.text));
  assert.deepEqual(own.map(({ provider, status }) => [provider, status]).sort(), [['socket', 'answered'], ['ws', 'answered']]);
  for (const { text } of own) assert.match(text, /\d+ ms.*Ready/s);
  await page.locator('#ask-results').scrollIntoViewIfNeeded();
  await browser.screenshot('ask');
  device.close();
  silent.close();
}));

test('page: burst shows in the plot and its figures', () => withPage(demo, {}, async (page, browser) => {
  await connect(page);
  const blank = await page.locator('#plot').screenshot();
  await page.click('#burst');
  for (const provider of PROVIDERS) {
    await page.waitForFunction((id) => Number(document.querySelector(`[data-testid=count-${id}]`).textContent) >= 100, provider);
    await page.waitForFunction((id) => Number(document.querySelector(`[data-testid=peak-${id}]`).textContent) > 0, provider);
  }
  assert.ok(!blank.equals(await page.locator('#plot').screenshot()), 'the plot did not change');
  await browser.screenshot('burst');
}));

test('page: explanation says what became of an event', () => withPage(demo, {}, async (page, browser) => {
  const { user } = await connect(page);
  const explain = async (name) => {
    await page.fill('[data-testid=explain-user]', name);
    await page.click('[data-testid=explain-submit]');
  };
  const says = (pattern) => page.waitForFunction(
    (source) => new RegExp(source).test(document.querySelector('#explain-text').textContent), pattern);
  await explain(user);
  await page.waitForFunction(() => /id of an event/.test(document.querySelector('#explain-error').textContent));

  await send(page, { kind: 'user', name: user, event: 'explained' });
  for (const provider of PROVIDERS) await page.waitForSelector(row(provider, 'explained'));
  await explain(user);
  await says('"explained", position[^]*sent to user[^]*3 connections known[^]*WRITTEN[^]*WRITTEN[^]*WRITTEN');
  await page.locator('.explain').scrollIntoViewIfNeeded();
  await browser.screenshot('explain');
  await explain('nobody');
  await says('no connection is known');
}));

test('page: wrong input is explained next to its field', () => withPage(demo, {}, async (page, browser) => {
  const { user } = await connect(page);
  await send(page, { kind: 'user', name: user, event: 'x', data: '{"half":' });
  await page.waitForSelector('#send-data-error:not([hidden])');
  assert.equal(await page.getAttribute('#send-data', 'aria-invalid'), 'true');
  await send(page, { kind: 'user', name: user, event: 'connected', data: '1' });
  await page.waitForFunction(() => /reserved/i.test(document.querySelector('#send-form').textContent));
  // The refusal itself is a 400, which is the only thing the browser may complain about.
  const expected = browser.faults.filter((fault) => /400/.test(fault) && /\/api\/send/.test(fault));
  assert.deepEqual(browser.faults.filter((fault) => !expected.includes(fault)), []);
  browser.faults.length = 0;
}));

test('page: all forms work with the keyboard alone', () => withPage(demo, {}, async (page, browser) => {
  const user = unique('keys');
  const focused = () => page.evaluate(() => document.activeElement.id);
  const tabTo = async (id) => {
    for (let presses = 0; await focused() !== id; presses++) {
      assert.ok(presses < 80, `tab never came to #${id}`);
      await page.keyboard.press('Tab');
    }
    const visible = await page.evaluate(() => {
      const style = getComputedStyle(document.activeElement);
      return style.outlineStyle !== 'none' || style.boxShadow !== 'none';
    });
    assert.ok(visible, `the focus on #${id} cannot be seen`);
  };
  const type = async (id, text) => {
    await tabTo(id);
    await page.keyboard.press('Control+A');
    await page.keyboard.type(text);
    await page.keyboard.press('Escape');
  };
  await allOpen(page); // the page connects on load
  await type('user', user);
  await tabTo('connect');
  await page.keyboard.press('Enter');
  await allOpen(page);
  await type('send-target-name', user);
  await type('send-event', 'by:keyboard');
  await browser.screenshot('keyboard');
  await tabTo('send-submit');
  await page.keyboard.press('Enter');
  for (const provider of PROVIDERS) await page.waitForSelector(row(provider, 'by:keyboard'));
  await type('room-name', 'keys-room');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#rooms-list [data-room="keys-room"]');
  await tabTo('ask-submit');
  await page.keyboard.press('Space');
  await page.waitForSelector('#ask-results [data-status=answered]');
}));

for (const width of [320, 360, 768]) {
  test(`page: no horizontal scrolling at ${width} pixels`, () => withPage(demo, { width, height: 740 }, async (page, browser) => {
    const { user } = await connect(page);
    await send(page, { kind: 'user', name: user, event: 'long:'.padEnd(200, 'x'), data: `"${'y'.repeat(2000)}"` });
    await page.waitForFunction(() => document.querySelectorAll('[data-event^="long:"]').length === 3);
    await page.click('#ask-submit');
    await page.waitForSelector('#ask-results [data-status=answered]');
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `the page is ${wide} pixels wide`);
    if (width === 360) await browser.screenshot('phone', { fullPage: true });
  }));
}

test('page: in the dark', () => withPage(demo, { colorScheme: 'dark' }, async (page, browser) => {
  await connect(page);
  const lightness = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).map(Number));
  assert.ok(Math.max(...lightness) < 80, `the dark page's background is ${lightness}`);
  await browser.screenshot('dark', { fullPage: true });
}));

test('page: second device opens as the same user', () => withPage(demo, {}, async (page, browser) => {
  const { user } = await connect(page);
  const opening = browser.context.waitForEvent('page');
  await page.click('#new-device');
  const second = await opening;
  await allOpen(second);
  assert.equal(await second.inputValue('#user'), user);
  await send(page, { kind: 'user', name: user, event: 'both' });
  for (const provider of PROVIDERS) {
    await page.waitForSelector(row(provider, 'both'));
    await second.waitForSelector(row(provider, 'both'));
  }
}));

test('page: reopened connection resumes from its cursor', () => withPage(demo, {}, async (page) => {
  const { user } = await connect(page);
  for (const provider of PROVIDERS) {
    await send(page, { kind: 'user', name: user, event: `before:${provider}` });
    await page.waitForSelector(row(provider, `before:${provider}`));
    await page.click(`[data-testid=toggle-${provider}]`);
    await page.waitForSelector(`#panel-${provider}[data-state="closed"]`);
    await send(page, { kind: 'user', name: user, event: `missed:${provider}` });
    await page.waitForFunction(() => document.querySelectorAll('#receipts [data-outcome=good]').length === 3);
    await page.click(`[data-testid=toggle-${provider}]`);
    await page.waitForSelector(`#panel-${provider}[data-state="open"]`);
    await page.waitForSelector(row(provider, `missed:${provider}`));
  }
}));

test('page: EventSource over the limit waits for a slot', () => withPage(demo, {}, async (page) => {
  const who = { user: unique('alice') };
  const others = await Promise.all(Array.from({ length: 10 }, () => rawSse(demo, who)));
  assert.deepEqual(others.map(({ response }) => response.status), Array(10).fill(200));
  await page.goto(demo.url);
  await page.evaluate((url) => {
    const source = globalThis.source = new EventSource(url);
    globalThis.received = [];
    source.addEventListener('connected', () => received.push('connected'));
    // The server's error event has data, the browser's has none.
    source.addEventListener('error', (event) => received.push(event.data ? JSON.parse(event.data).code : `state ${source.readyState}`));
  }, sseQuery(who));
  await page.waitForFunction(() => received.length === 2);
  assert.deepEqual(await page.evaluate(() => received), ['user_limit', 'state 0']);
  others[0].close();
  await page.waitForFunction(() => received.includes('connected'), undefined, { timeout: 15_000 });
  for (const other of others) other.close();
}));

test('page: over TLS a browser opens more than six event streams', async () => {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; // of the requests of this process, for a self-signed certificate
  const certificate = await makeCertificate();
  const secure = await startDemo(...certificate.options);
  try {
    await withPage(secure, { ignoreHTTPSErrors: true }, async (page) => {
      await allOpen(page);
      await page.evaluate((urls) => {
        globalThis.received = new Set();
        globalThis.sources = urls.map((url) => {
          const source = new EventSource(url);
          source.addEventListener('news', () => received.add(url));
          return source;
        });
      }, Array.from({ length: 20 }, (_, n) => sseQuery({ user: `ann-${n}` })));
      await page.waitForFunction(() => sources.every((source) => source.readyState === EventSource.OPEN));
      await secure.send('sse', 'all', 'news', 1);
      await page.waitForFunction(() => received.size === 20);
    });
  } finally {
    await secure.stop();
    await certificate.remove();
  }
});
