// The event stream format of the HTML standard, section 9.2.6: text in, events out.

/** Reads an event stream piece by piece; a piece may end anywhere, even between CR and LF. */
export class SseParser {
  #rest = '';
  #scanned = 0; // the length of #rest that is known to hold no line end
  #afterCr = false;
  #data = [];
  #event = '';
  #id = '';
  #on;

  /**
   * `on.event({event, data, id})` with the block's own id, `on.retry(ms)`, and `on.id(id)` for a
   * block with a cursor only.
   */
  constructor(on) {
    this.#on = on;
  }

  push(text) {
    if (text === '') return;
    if (this.#afterCr && text[0] === '\n') text = text.slice(1);
    this.#afterCr = false;
    this.#rest += text;

    const ends = /\r\n|\r|\n/g;
    ends.lastIndex = this.#scanned;
    let start = 0;
    for (let end = ends.exec(this.#rest); end; end = ends.exec(this.#rest)) {
      const line = this.#rest.slice(start, end.index);
      start = ends.lastIndex;
      // A CR that ends the piece is a line end already; its LF may come with the next piece.
      this.#afterCr = end[0] === '\r' && start === this.#rest.length;
      this.#line(line);
    }
    this.#rest = this.#rest.slice(start);
    this.#scanned = this.#rest.length;
  }

  #line(line) {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment, the heartbeat
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value[0] === ' ') value = value.slice(1);

    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#event = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.#on.retry(Number(value));
  }

  #dispatch() {
    if (this.#data.length > 0) {
      this.#on.event({ event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id });
    } else if (this.#id) {
      this.#on.id(this.#id);
    }
    this.#data = [];
    this.#event = '';
    this.#id = ''; // unlike an EventSource's lastEventId, so that an event without a cursor differs from one with
  }
}
