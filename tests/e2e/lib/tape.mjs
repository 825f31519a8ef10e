// Parses the bytes that a server writes on one connection, to say where in them a cut is.

const LF = 10;

/**
 * HTTP/1.1 answers one after the other, with a length or in chunks, and WebSocket frames after a
 * 101.
 */
export class Tape {
  #state = 'head';
  #text = '';
  #left = 0;
  #last = [0, 0];
  #bytes = 0;

  push(bytes) {
    for (const byte of bytes) this.#byte(byte);
  }

  /**
   * `silence` (no bytes), `head` (of an answer, a chunk or a frame), `event` (inside what they
   * carry), `between`.
   */
  get place() {
    if (this.#bytes === 0) return 'silence';
    switch (this.#state) {
      case 'head':
      case 'size':
      case 'frame head':
        return this.#text === '' ? 'between' : 'head';
      case 'chunk end':
        return 'between';
      default: // An event stream may be cut inside of a chunk and still between two events.
        return this.#state === 'chunk' && this.#last.every((byte) => byte === LF) ? 'between' : 'event';
    }
  }

  #byte(byte) {
    this.#bytes += 1;
    this.#last = [this.#last[1], byte];
    switch (this.#state) {
      case 'head':
        this.#text += String.fromCharCode(byte);
        if (this.#text.endsWith('\r\n\r\n')) this.#answer(this.#text.toLowerCase());
        break;
      case 'size':
        this.#text += String.fromCharCode(byte);
        if (byte === LF) {
          const size = parseInt(this.#text, 16);
          if (size === 0) this.#enter('head'); // the trailer is not parsed
          else this.#enter('chunk', size);
        }
        break;
      case 'frame head':
        this.#text += String.fromCharCode(byte);
        this.#frame(this.#text);
        break;
      default:
        this.#left -= 1;
        if (this.#left === 0) this.#enter({ chunk: 'chunk end', 'chunk end': 'size', body: 'head', frame: 'frame head' }[this.#state], 2);
    }
  }

  #answer(head) {
    const length = Number(/\r\ncontent-length: (\d+)/.exec(head)?.[1] ?? 0);
    if (/^http\/1.1 101 /.test(head)) this.#enter('frame head');
    else if (/\r\ntransfer-encoding: chunked/.test(head)) this.#enter('size');
    else if (length > 0) this.#enter('body', length);
    else this.#enter('head');
  }

  #frame(head) {
    const short = head.charCodeAt(1) & 0x7f;
    const size = { 126: 4, 127: 10 }[short] ?? 2;
    if (head.length < size) return;
    let length = size === 2 ? short : 0;
    for (const digit of head.slice(2)) length = length * 256 + digit.charCodeAt(0);
    if (length === 0) this.#enter('frame head');
    else this.#enter('frame', length);
  }

  #enter(state, left = 0) {
    this.#state = state;
    this.#left = left;
    this.#text = '';
  }
}
