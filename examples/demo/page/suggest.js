// A combobox in the WAI-ARIA pattern. A <datalist> would show only what matches a field that is
// already filled.
import { element } from './element.js';

/**
 * Gives `input` a list of suggestions; `names()` returns the current ones, and any other text stays
 * allowed.
 */
export function suggest(input, names) {
  const list = element('ul', { id: `${input.id}-list`, role: 'listbox', class: 'suggestions', 'aria-label': 'Suggestions' });
  let active = -1;
  list.hidden = true;
  input.setAttribute('role', 'combobox');
  input.setAttribute('aria-autocomplete', 'list');
  input.setAttribute('aria-expanded', 'false');
  input.setAttribute('aria-controls', list.id);
  input.after(list);

  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
  };
  const open = (found) => {
    if (found.length === 0) return close();
    list.replaceChildren(...found.map((name, i) => element('li', { id: `${list.id}-${i}`, role: 'option', 'aria-selected': 'false' }, name)));
    list.hidden = false;
    active = -1;
    input.setAttribute('aria-expanded', 'true');
    input.removeAttribute('aria-activedescendant');
  };
  const mark = (index) => {
    const options = [...list.children];
    active = (index + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute('aria-selected', String(i === active)));
    options[active].scrollIntoView({ block: 'nearest' });
    input.setAttribute('aria-activedescendant', options[active].id);
  };
  const pick = (option) => {
    input.value = option.textContent;
    close();
    input.dispatchEvent(new Event('change', { bubbles: true }));
  };

  input.addEventListener('click', () => (list.hidden ? open(names()) : close()));
  input.addEventListener('input', () => {
    const text = input.value.trim().toLowerCase();
    const found = names().filter((name) => name.toLowerCase().startsWith(text));
    open(found.some((name) => name === input.value) ? [] : found);
  });
  input.addEventListener('blur', close);
  input.addEventListener('keydown', (key) => onKey(key, { list, names, open, close, mark, pick, active: () => active }));
  // pointerdown, because the field's blur would close the list before a click
  list.addEventListener('pointerdown', (press) => {
    press.preventDefault();
    if (press.target.role === 'option' || press.target.getAttribute('role') === 'option') pick(press.target);
  });
}

/** Handles a key in the field of a list that has these actions. */
function onKey(key, { list, names, open, close, mark, pick, active }) {
  if (key.key === 'ArrowDown' || key.key === 'ArrowUp') {
    key.preventDefault();
    if (list.hidden) open(names());
    if (!list.hidden) mark(key.key === 'ArrowDown' ? active() + 1 : active() < 0 ? -1 : active() - 1);
  } else if (key.key === 'Enter' && active() >= 0) {
    key.preventDefault();
    pick(list.children[active()]);
  } else if (key.key === 'Escape' && !list.hidden) {
    key.preventDefault();
    close();
  }
}
