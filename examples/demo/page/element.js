// Small makers for the DOM. Text is always set as text, never parsed as markup.

/** `element('li', {class: 'row', 'data-x': 1}, 'text', childNode)` */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** The element of this id. */
export const byId = (id) => document.getElementById(id);

/** Shows `text` in a `.problem` paragraph, or hides it when there is none. */
export function problem(node, text) {
  node.textContent = text ?? '';
  node.hidden = !text;
}

/**
 * Marks a field as wrong (or right again, without `text`) and says why in the paragraph it is
 * described by.
 */
export function fieldProblem(field, node, text) {
  if (text) field.setAttribute('aria-invalid', 'true');
  else field.removeAttribute('aria-invalid');
  problem(node, text);
}

const LONGEST_SHOWN = 600;

/** A payload on one line, shortened past 600 characters; binary parts are named by their size. */
export function payloadText(value) {
  if (value === undefined) return '';
  if (isBinary(value)) return binaryText(value);
  const text = JSON.stringify(value, (_, part) => (isBinary(part) ? binaryText(part) : part)) ?? '';
  if (text.length <= LONGEST_SHOWN) return text;
  return `${text.slice(0, LONGEST_SHOWN)}… (${text.length.toLocaleString('en')} characters)`;
}

function isBinary(value) {
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob;
}

function binaryText(value) {
  return `binary, ${value.byteLength ?? value.size} bytes`;
}

/** The time of day with milliseconds, in the reader's zone. */
export function clockText(date) {
  const two = (n) => String(n).padStart(2, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}
