// Two SSE clients: npm's eventsource, as an application uses it, and a plain reader that shows
// every byte.

import { EventSource } from 'eventsource';
import { Inbox } from './wait.mjs';

export function sseQuery({ user, tenant, channels = [], lastEventId }) {
  const query = new URLSearchParams();
  if (user !== undefined) query.set('user', user);
  if (tenant !== undefined) query.set('tenant', tenant);
  for (const channel of channels) query.append('channel', channel);
  if (lastEventId !== undefined) query.set('lastEventId', lastEventId);
  return `/sse?${query}`;
}

/** The events of the tests: an EventSource gets only the names it listens for. */
const NAMES = ['connected', 'news', 'sentinel', 'ünï:cödé ☃', 'chat:message', 'lost', 'cursor'];

/**
 * An EventSource that is open and has read `connected`; its inbox holds `{event, data, cursor}`,
 * data parsed.
 */
export async function openSse(demo, who) {
  const source = new EventSource(demo.url + sseQuery(who));
  const inbox = new Inbox();
  for (const name of NAMES) {
    source.addEventListener(name, (e) => inbox.push({ event: name, data: JSON.parse(e.data), cursor: e.lastEventId }));
  }
  source.addEventListener('error', (e) => inbox.end(`EventSource error ${e.code ?? ''} ${e.message ?? ''}`));
  const close = () => source.close();
  try {
    const connected = await inbox.next((i) => i.event === 'connected', 'connected');
    return { source, inbox, connected, close };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * A plain GET: headers, and an inbox of parsed blocks `{event, data, id, retry, comment}` as on the
 * wire.
 */
export async function rawSse(demo, who, headers = {}) {
  const abort = new AbortController();
  const response = await fetch(demo.url + sseQuery(who), { headers, signal: abort.signal });
  const inbox = new Inbox();
  if (response.status === 200) read(response.body, inbox);
  else inbox.end(`status ${response.status}`);
  return { response, inbox, close: () => abort.abort() };
}

async function read(body, inbox) {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let text = '';
  try {
    for await (const chunk of body) {
      text += decoder.decode(chunk, { stream: true });
      const blocks = text.split('\n\n');
      text = blocks.pop();
      for (const block of blocks) inbox.push(parse(block));
    }
    if (text) inbox.push(parse(text.replace(/\n$/, ''))); // the last line of a server that shuts down
    inbox.end('the server ended the stream');
  } catch (error) {
    inbox.end(error.message);
  }
}

function parse(block) {
  const parsed = { lines: block.split('\n') };
  const data = [];
  for (const line of parsed.lines) {
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (name === '') parsed.comment = value;
    else if (name === 'data') data.push(value);
    else parsed[name] = value;
  }
  if (data.length) parsed.data = data.join('\n');
  return parsed;
}
