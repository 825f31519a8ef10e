// Socket.IO's packets (protocol revision 5) within Engine.IO's messages (revision 4) over a
// WebSocket: text in, values out.

const EVENT = '2';
const ACK = '3';
const BINARY = { 5: EVENT, 6: ACK };

/**
 * Reads messages in order; an event with attachments is complete when the last of them has arrived.
 */
export class SocketIoReader {
  #packet = null; // waits for attachments
  #attachments = [];

  /** Decodes a WebSocket message: {type, …}, or null when more belongs to it. */
  read(data) {
    if (typeof data !== 'string') return this.#attach(data);
    const type = data[0];
    if (type === '0') return { type: 'open', ...JSON.parse(data.slice(1)) };
    if (type === '1') return { type: 'close' };
    if (type === '2') return { type: 'ping' };
    if (type !== '4') return { type: 'other' };
    return this.#packetOf(data.slice(1));
  }

  #packetOf(text) {
    // <type>[<attachments>-][<namespace>,][<id>][<JSON>]
    const [, type, count, namespace, id, json] = /^(\d)(?:(\d+)-)?(?:(\/[^,]*),)?(\d+)?([^]*)$/.exec(text) ?? [];
    if (type === undefined || namespace) return { type: 'other' };
    const value = json ? JSON.parse(json) : undefined;
    if (type === '0') return { type: 'connect', ...value };
    if (type === '1') return { type: 'disconnect' };
    if (type === '4') return { type: 'refused', message: value?.message ?? String(value), data: value?.data };
    const packet = { type: BINARY[type] ?? type, id, args: value };
    if (Number(count) > 0) {
      this.#packet = { ...packet, left: Number(count) };
      this.#attachments = [];
      return null;
    }
    return whole(packet, []);
  }

  #attach(data) {
    if (!this.#packet) return { type: 'other' };
    this.#attachments.push(data);
    if (this.#attachments.length < this.#packet.left) return null;
    const packet = this.#packet;
    this.#packet = null;
    return whole(packet, this.#attachments);
  }
}

function whole({ type, id, args }, attachments) {
  const [event, ...rest] = restore(args, attachments);
  return type === EVENT ? { type: 'event', event, args: rest, id } : { type: 'ack', id, args: [event, ...rest] };
}

/** Replaces the placeholders in a value by their bytes. */
function restore(value, attachments) {
  if (typeof value !== 'object' || value === null) return value;
  if (value._placeholder === true && value.num in attachments) return attachments[value.num];
  if (Array.isArray(value)) return value.map((part) => restore(part, attachments));
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, restore(part, attachments)]));
}

export const PONG = '3';
export const DISCONNECT = '41';

export function connectPacket(auth) {
  return `40${JSON.stringify(auth)}`;
}

export function answerPacket(id, value) {
  return `4${ACK}${id}${JSON.stringify([value ?? null])}`;
}

export function eventPacket(event, data) {
  return `4${EVENT}${JSON.stringify([event, data])}`;
}
