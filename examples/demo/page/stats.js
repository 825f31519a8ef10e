// The server's figures under each panel, read every second while the page is visible.
import { call } from './api.js';
import { byId } from './element.js';
import { PROVIDERS } from './providers.js';

const EVERY_MS = 1_000;

/**
 * Starts reading; runs as long as the page. `user()` returns the user whose connections are shown.
 */
export function watchStats(transports, user) {
  const read = async () => {
    if (!document.hidden) {
      try {
        const [{ providers }, { connections }] = await Promise.all([
          call('stats'), call(`connections?${new URLSearchParams({ user: user() })}`)]);
        for (const { name } of PROVIDERS) show(name, providers[name]);
        for (const transport of transports) transport.report(connections);
      } catch {
        for (const { name } of PROVIDERS) show(name, undefined);
        for (const transport of transports) transport.report(undefined);
      }
    }
    setTimeout(read, EVERY_MS);
  };
  read();
}

function show(name, stats) {
  const root = byId(`panel-${name}`).querySelector('.server');
  const refused = Object.entries(stats?.refused ?? {}).filter(([, n]) => n > 0);
  const figures = { ...stats, refused: stats && refused.reduce((sum, [, n]) => sum + n, 0) };
  for (const node of root.querySelectorAll('[data-figure]')) {
    const figure = figures[node.dataset.figure];
    node.textContent = figure === undefined ? '–' : short(figure);
    node.title = figure === undefined ? '' : String(figure);
  }
  const note = root.querySelector('.note');
  note.textContent = stats
    ? refused.map(([reason, n]) => `${reason} ${n}`).join(', ').replace(/^(?=.)/, 'Refused: ')
    : 'No figures: the server cannot be reached.';
  note.hidden = note.textContent === '';
}

function short(n) {
  if (n < 100_000) return String(n);
  return n < 1_000_000 ? `${Math.floor(n / 1_000)}k` : `${(n / 1_000_000).toFixed(1)}M`;
}
