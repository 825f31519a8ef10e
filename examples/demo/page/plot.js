// Deliveries per second over the last minute, one lane per transport on a common scale. Lanes,
// because three lines in one frame would hide each other: most events go out over all three.
import { byId, element } from './element.js';
import { PROVIDERS } from './providers.js';

const SECONDS = 60;
const FRAME_MS = 40;
const MARGIN = { left: 34, right: 8, top: 8, bottom: 20 };
const LANE_GAP = 18;

const still = matchMedia('(prefers-reduced-motion: reduce)');
const dark = matchMedia('(prefers-color-scheme: dark)');

export class Plot {
  #canvas = byId('plot');
  #counts = new Map(PROVIDERS.map(({ name }) => [name, new Map()])); // name → second → events
  #figures = new Map();
  #colours = {};
  #size = { width: 0, height: 0 };
  #lastDraw = 0;

  constructor() {
    for (const { name, short } of PROVIDERS) {
      const now = element('b', { 'data-testid': `rate-${name}` }, '0');
      const peak = element('span', { 'data-testid': `peak-${name}` }, '0');
      this.#figures.set(name, { now, peak });
      byId('plot-legend').append(element('li', { class: `of-${name}` },
        element('span', { class: 'legend-name' }, short),
        element('span', { class: 'legend-now' }, now, ' /s'),
        element('span', { class: 'legend-peak' }, 'peak ', peak)));
    }
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    dark.addEventListener('change', () => this.#readColours());
    this.#readColours();
    setInterval(() => this.#tick(), 1_000);
    const frame = (at) => {
      requestAnimationFrame(frame);
      // Between the seconds there is something to move only while bars are in sight.
      if (!still.matches && at - this.#lastDraw >= FRAME_MS && this.#peak() > 0) this.#draw();
    };
    requestAnimationFrame(frame);
  }

  /** Counts one delivery of this transport. */
  add(name) {
    const second = Math.floor(performance.now() / 1_000);
    const counts = this.#counts.get(name);
    counts.set(second, (counts.get(second) ?? 0) + 1);
  }

  #tick() {
    const second = Math.floor(performance.now() / 1_000);
    for (const { name } of PROVIDERS) {
      const counts = this.#counts.get(name);
      for (const old of counts.keys()) if (old < second - SECONDS - 1) counts.delete(old);
      const { now, peak } = this.#figures.get(name);
      now.textContent = String(counts.get(second - 1) ?? 0);
      peak.textContent = String(Math.max(0, ...counts.values()));
    }
    this.#draw();
  }

  #peak() {
    return Math.max(0, ...PROVIDERS.flatMap(({ name }) => [...this.#counts.get(name).values()]));
  }

  #resize() {
    const { width, height } = this.#canvas.getBoundingClientRect();
    const ratio = devicePixelRatio || 1;
    this.#size = { width, height };
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    this.#draw();
  }

  #readColours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ['muted', 'line', 'sse', 'ws', 'socket']) this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    this.#colours.font = style.getPropertyValue('--sans').trim();
    this.#draw();
  }

  #draw() {
    const { width, height } = this.#size;
    if (width === 0) return;
    this.#lastDraw = performance.now();
    const ratio = this.#canvas.width / width;
    const pen = this.#canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${this.#colours.font}`;

    const top = niceTop(this.#peak());
    const lane = (height - MARGIN.top - MARGIN.bottom - LANE_GAP * 2) / 3;
    const right = width - MARGIN.right;
    const step = (right - MARGIN.left) / SECONDS;
    this.#drawTimes(pen, step, right, height);
    PROVIDERS.forEach(({ name }, index) => {
      const y = MARGIN.top + index * (lane + LANE_GAP);
      this.#drawScale(pen, y, lane, right, top);
      this.#drawBars(pen, name, y, lane, right, step, top);
    });
  }

  #drawTimes(pen, step, right, height) {
    pen.fillStyle = this.#colours.muted;
    pen.textBaseline = 'alphabetic';
    for (let ago = 0; ago <= SECONDS; ago += 15) {
      const x = right - ago * step;
      pen.fillStyle = this.#colours.line;
      pen.fillRect(Math.round(x), MARGIN.top, 1, height - MARGIN.top - MARGIN.bottom);
      pen.fillStyle = this.#colours.muted;
      pen.textAlign = ago === 0 ? 'right' : 'center';
      pen.fillText(ago === 0 ? 'now' : `−${ago} s`, ago === 0 ? right + MARGIN.right : x, height - 5);
    }
  }

  #drawScale(pen, y, lane, right, top) {
    pen.fillStyle = this.#colours.line;
    pen.fillRect(MARGIN.left, Math.round(y), right - MARGIN.left, 1);
    pen.fillStyle = this.#colours.muted;
    pen.textAlign = 'right';
    pen.textBaseline = 'middle';
    pen.fillText(shortNumber(top), MARGIN.left - 6, y + 3);
    pen.fillText('0', MARGIN.left - 6, y + lane - 2);
  }

  #drawBars(pen, name, y, lane, right, step, top) {
    const seconds = performance.now() / 1_000;
    const running = Math.floor(seconds);
    const shift = still.matches ? 1 : seconds - running; // how much of the running second has passed
    const floor = y + lane;
    pen.save();
    pen.beginPath();
    pen.rect(MARGIN.left, y - 2, right - MARGIN.left, lane + 4);
    pen.clip();
    pen.fillStyle = this.#colours[name];
    for (const [second, count] of this.#counts.get(name)) {
      const x = right - (running - second + shift) * step;
      const tall = Math.max(2, (count / top) * lane);
      pen.fillRect(x, floor - tall, Math.max(1, step - 1), tall);
    }
    pen.restore();
    pen.fillStyle = this.#colours[name];
    pen.fillRect(MARGIN.left, Math.round(floor), right - MARGIN.left, 1);
  }
}

/** The first of 5, 10, 20, 50, 100 … that is not below `peak`. */
function niceTop(peak) {
  for (let unit = 5; ; unit *= 10) {
    for (const factor of [1, 2, 4]) if (unit * factor >= peak) return unit * factor;
  }
}

function shortNumber(n) {
  return n >= 1_000 ? `${n / 1_000}k` : String(n);
}
