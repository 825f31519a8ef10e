// The demo's page, as its tests use it.

import assert from 'node:assert/strict';
import { openPage } from './browser.mjs';
import { unique } from './wait.mjs';

export const PROVIDERS = ['sse', 'ws', 'socket'];

/** Opens the page, runs, and fails on anything the page must not do. */
export async function withPage(demo, options, body) {
  const browser = await openPage(demo, options);
  try {
    await body(browser.page, browser);
    assert.deepEqual(browser.faults, []);
  } finally {
    await browser.close();
  }
}

/** Connects all three transports as this user. */
export async function connect(page, user = unique('alice'), tenant = unique('acme')) {
  await allOpen(page); // the page connects on load
  await page.fill('#user', user);
  await page.fill('#tenant', tenant);
  await page.click('#connect');
  await allOpen(page);
  return { user, tenant };
}

export async function allOpen(page) {
  for (const provider of PROVIDERS) await page.waitForSelector(`#panel-${provider}[data-state="open"]`);
}

/** Where a panel shows events of this name. */
export const row = (provider, event) => `#panel-${provider} [data-event="${event}"]`;

/** Fills the send form and submits it; `over` are the providers to send over. */
export async function send(page, { over = PROVIDERS, kind, name, event, data = '{"n": 1}' }) {
  for (const provider of PROVIDERS) await page.setChecked(`[data-testid=send-provider-${provider}]`, over.includes(provider));
  await page.selectOption('#send-target-kind', kind);
  if (name !== undefined) await page.fill('#send-target-name', name);
  await page.fill('#send-event', event);
  await page.fill('#send-data', data);
  await page.click('#send-submit');
}
