// Server-Sent Events over fetch: unlike EventSource it shows events of any name, and why a stream
// was refused.
import { SseParser } from './sse-parser.js';
import { decode, Link, LONGEST_WAIT, NEW_TOKEN, pause, refusal, seconds } from './link.js';

/** Refreshes the login of a stream; if it fails, the stream ends and is opened again. */
function refresh(connectionId) {
  const body = JSON.stringify({ connectionId, token: NEW_TOKEN });
  fetch('/sse/refresh', { method: 'POST', body }).catch(() => {});
}

export class SseLink extends Link {
  #run = null;

  connect(identity) {
    this.#run?.abort();
    this.#run = new AbortController();
    this.#keepOpen(identity, this.#run.signal);
  }

  disconnect() {
    this.#run?.abort();
    this.#run = null;
  }

  async #keepOpen(identity, signal) {
    let retry = 3_000;
    let failures = 0;
    this.on.state('connecting', '');
    for (;;) {
      let why = 'The server cannot be reached.';
      try {
        const response = await fetch(`/sse?${new URLSearchParams({ ...identity, link: this.id })}`, {
          headers: { accept: 'text/event-stream', ...(this.cursor && { 'last-event-id': this.cursor }) },
          cache: 'no-store',
          signal,
        });
        if (response.status === 204) return this.on.state('closed', 'The server asked not to reconnect.');
        if (!response.ok) {
          why = await refusal(response);
          if (response.status < 500) return this.on.state('closed', why);
        } else {
          why = 'The connection was cut.';
          await this.#read(response, signal, {
            retry: (ms) => { retry = ms; },
            welcome: () => { failures = 0; },
          });
          why = 'The server ended the stream.';
        }
      } catch {
        // `why` says what failed.
      }
      if (signal.aborted) return;
      const wait = Math.min(retry * 2 ** Math.min(failures, 5), Math.max(retry, LONGEST_WAIT));
      failures += 1;
      this.on.state('connecting', why, `Next try in ${seconds(wait)}.`);
      await pause(wait, signal);
      if (signal.aborted) return;
    }
  }

  async #read(response, signal, on) {
    let connection;
    const parser = new SseParser({
      retry: on.retry,
      id: (id) => this.#keepCursor(id),
      event: ({ event, data, id }) => {
        const value = decode(data);
        if (event === 'connected') {
          on.welcome();
          connection = value?.connectionId;
          this.#keepCursor(id || value?.cursor);
          this.on.welcome(value ?? {});
          return;
        }
        this.#keepCursor(id);
        if (event === 'expiring') refresh(connection);
        this.on.event({ event, data: value, cursor: id });
      },
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      parser.push(value);
    }
  }

  #keepCursor(cursor) {
    if (!cursor || cursor === this.cursor) return;
    this.cursor = cursor;
    this.on.cursor(cursor);
  }
}
