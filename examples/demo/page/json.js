// JSON as typed by a user: the value, or a sentence that says where it is wrong. Browsers' own
// messages differ and often name no line and column.

const SPACE = /[ \t\r\n]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** Parses `text`, or throws an Error whose message can be shown as it is. */
export function parseJson(text) {
  if (text.trim() === '') throw new Error('Enter a JSON value, for example {"subject": "Hello"} or null.');
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`Not valid JSON${complaint(text)}`);
  }
}

function complaint(text) {
  let at;
  try {
    at = new Scan(text).firstError();
  } catch {
    return '.'; // nested too deep to look
  }
  if (at >= text.trimEnd().length) return ': it ends too early. Is a bracket missing?';
  const lines = text.slice(0, at).split('\n');
  const place = `line ${lines.length}, column ${lines.at(-1).length + 1}`;
  if (text[at] === '"') return `: at ${place}, a quote is missing, or something stands where it may not.`;
  return `: at ${place}, “${String.fromCodePoint(text.codePointAt(at))}” may not stand here.`;
}

class Scan {
  #text;
  #at = 0;

  constructor(text) {
    this.#text = text;
  }

  /** Returns the index of the first character that no JSON text could have there. */
  firstError() {
    if (this.#value()) this.#skip();
    return this.#at;
  }

  #value() {
    this.#skip();
    if (this.#take('{')) return this.#list('}', () => this.#string() && this.#colon() && this.#value());
    if (this.#take('[')) return this.#list(']', () => this.#value());
    return this.#match(STRING) || this.#match(SCALAR);
  }

  #list(end, item) {
    this.#skip();
    if (this.#take(end)) return true;
    for (;;) {
      if (!item()) return false;
      this.#skip();
      if (this.#take(end)) return true;
      if (!this.#take(',')) return false;
    }
  }

  #string() {
    this.#skip();
    return this.#match(STRING);
  }

  #colon() {
    this.#skip();
    return this.#take(':');
  }

  #skip() {
    this.#match(SPACE);
  }

  #take(character) {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #match(pattern) {
    pattern.lastIndex = this.#at;
    if (!pattern.test(this.#text)) return false;
    this.#at = pattern.lastIndex;
    return true;
  }
}
