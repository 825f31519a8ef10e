// Headless Chromium on the demo's page, which collects errors of the page.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { DEADLINE } from './wait.mjs';

const SCREENSHOTS = fileURLToPath(new URL('../../../target/screenshots/', import.meta.url));
const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

/**
 * Opens the page at this size; `faults` collects console errors, failed requests and requests that
 * leave the server.
 */
export async function openPage(demo, { width = 1280, height = 900, path = '/', ...options } = {}) {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error('no Chromium: install it, or set CHROMIUM to its path');
  const profile = await mkdtemp(join(tmpdir(), 'realtime-e2e-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath, args: ARGS, headless: true, viewport: { width, height }, ...options,
  });
  const faults = [];
  context.on('request', (request) => {
    const { host, protocol } = new URL(request.url());
    if (host !== `127.0.0.1:${demo.port}` && !/^(data|blob):$/.test(protocol)) faults.push(`request to ${request.url()}`);
  });
  context.on('weberror', (error) => faults.push(`exception: ${error.error()}`));
  const watch = (page) => {
    page.setDefaultTimeout(DEADLINE);
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()} ${message.location().url}`);
    });
    page.on('websocket', (socket) => {
      if (new URL(socket.url()).host !== `127.0.0.1:${demo.port}`) faults.push(`websocket to ${socket.url()}`);
    });
    page.on('response', (response) => {
      if (response.status() >= 400) faults.push(`${response.status()} for ${response.url()}`);
    });
  };
  const page = context.pages()[0] ?? await context.newPage();
  watch(page);
  context.on('page', watch);
  await page.goto(demo.url + path);
  return {
    page,
    context,
    faults,
    async screenshot(name, more = {}) {
      await mkdir(SCREENSHOTS, { recursive: true });
      await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), ...more });
    },
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
