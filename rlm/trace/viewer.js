// The trace viewer. Whatever comes from the run is set by textContent alone, so that it stays text.
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const nodes = data.nodes, texts = data.texts;
const find = selector => document.querySelector(selector);
const tree = find('#tree'), rows = find('#rows'), detail = find('#detail'), box = find('#search input'), count = find('#search output');

function make(tag, name = '', text = '') {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== '') element.textContent = text;
  return element;
}

// ---- figures
const grouped = number => number.toLocaleString('en-US');
const shortNumber = number => number < 10000 ? grouped(number) : number < 1e6 ? `${(number / 1e3).toFixed(number < 1e5 ? 1 : 0)}k` : `${(number / 1e6).toFixed(2)}M`;
const duration = seconds => seconds == null ? '' : seconds < 1 ? `${Math.round(seconds * 1000)} ms` : seconds < 120 ? `${seconds.toFixed(1)} s`
  : `${Math.floor(seconds / 60)}m ${String(Math.round(seconds % 60)).padStart(2, '0')}s`;
const dollars = (node, unknown = '?') => !node.tokens ? '' : node.cost == null ? unknown : node.cost === 0 ? '$0' : node.cost < 0.0001 ? '<$.0001' : `$${node.cost.toFixed(node.cost < 0.1 ? 4 : 2)}`;

// ---- the tree: nodes come parents first, so one pass knows children and depth
nodes.forEach((node, place) => {
  node.below = [];
  node.depth = node.parent < 0 ? 0 : nodes[node.parent].depth + 1;
  node.nth = node.parent < 0 ? 1 : nodes[node.parent].below.push(place);
});
const small = nodes.length <= 300;
for (const node of nodes) node.unfolded = node.depth === 0 || (!node.folded && node.below.length <= 12 && (small || node.depth === 1 && node.kind !== 'turn'));

let shown = [], placeOf = new Map(), current = 0, height = 24, matches = null, matching = new Set(), kept = new Set();

function list() {
  shown = [];
  const add = place => {
    if (matches && !kept.has(place)) return;
    shown.push(place);
    if (matches ? !nodes[place].closed : nodes[place].unfolded) nodes[place].below.forEach(add);
  };
  nodes.forEach((node, place) => { if (node.parent < 0) add(place); });
  placeOf = new Map(shown.map((place, line) => [place, line]));
  rows.style.height = `${shown.length * height}px`;
  paint();
}

// ---- rows: only those in sight exist
function paint() {
  const first = Math.max(0, Math.floor(tree.scrollTop / height) - 8);
  const last = Math.min(shown.length, Math.ceil((tree.scrollTop + tree.clientHeight) / height) + 8);
  rows.replaceChildren(...shown.slice(first, last).map((place, line) => row(place, first + line)));
  const selected = document.getElementById(`row${current}`);
  if (selected) tree.setAttribute('aria-activedescendant', selected.id); else tree.removeAttribute('aria-activedescendant');
}

function row(place, line) {
  const node = nodes[place], element = make('div', 'row');
  const open = matches ? !node.closed : node.unfolded;
  element.id = `row${place}`;
  element.style.top = `${line * height}px`;
  element.setAttribute('role', 'treeitem');
  element.setAttribute('aria-level', node.depth + 1);
  element.setAttribute('aria-selected', place === current);
  // Only the rows in sight exist: a screen reader is told how many there are.
  element.setAttribute('aria-posinset', node.nth);
  element.setAttribute('aria-setsize', node.parent < 0 ? 1 : nodes[node.parent].below.length);
  if (node.below.length) element.setAttribute('aria-expanded', open);
  element.classList.toggle('bad', !!node.bad);
  element.classList.toggle('open', !!node.open);
  element.classList.toggle('miss', !!matches && !matching.has(place));
  const step = make('div', 'step');
  step.style.paddingLeft = `${6 + Math.min(node.depth, 12) * 16}px`;
  step.append(make('span', 'fold', node.below.length ? (open ? '▾' : '▸') : ''), make('span', `dot ${node.kind}`), make('span', 'name', node.name), make('span', 'note', node.note));
  element.append(step, lane(node), make('span', 'figure', duration(node.seconds)), make('span', 'figure tokens', node.tokens ? shortNumber(node.tokens) : ''), make('span', 'figure', dollars(node)));
  element.addEventListener('click', event => {
    if (event.target.className === 'fold') toggle(place); else select(place);
    tree.focus();
  });
  element.addEventListener('dblclick', () => toggle(place));
  return element;
}

function lane(node) {
  const element = make('div', 'lane');
  if (node.start == null || !data.seconds) return element;
  const bar = make('div', `bar ${node.kind}`), left = 100 * node.start / data.seconds;
  bar.style.left = `${Math.min(left, 99)}%`;
  bar.style.width = `${Math.max(0.5, Math.min(100 - left, 100 * (node.seconds || 0) / data.seconds))}%`;
  element.append(bar);
  if (node.asked < node.seconds) { // of a turn: first the model, then the code
    const code = make('div', 'code');
    code.style.width = `${100 - 100 * node.asked / node.seconds}%`;
    bar.append(code);
  }
  return element;
}

function toggle(place, open) {
  const node = nodes[place];
  if (!node.below.length) return;
  if (matches) node.closed = open === undefined ? !node.closed : !open;
  else node.unfolded = open === undefined ? !node.unfolded : open;
  list();
}

function reveal(place) {
  for (let above = nodes[place].parent; above >= 0; above = nodes[above].parent) nodes[above][matches ? 'closed' : 'unfolded'] = !matches;
}

function select(place, hidden = false) {
  if (hidden && !placeOf.has(place)) { reveal(place); list(); }
  if (place !== current || !detail.firstChild) { current = place; describe(); }
  const line = placeOf.get(place), top = line * height;
  if (line !== undefined) {
    if (top < tree.scrollTop) tree.scrollTop = top;
    else if (top + height > tree.scrollTop + tree.clientHeight) tree.scrollTop = top + height - tree.clientHeight;
  }
  paint();
}

// ---- the texts of a step
const AT_ONCE = 20000; // characters of one text that are put into the page unasked

function describe() {
  const node = nodes[current], path = [];
  for (let above = node.parent; above >= 0; above = nodes[above].parent) path.unshift(nodes[above].name);
  detail.replaceChildren();
  if (path.length) detail.append(make('p', '', path.join(' › ')));
  if (path.length) detail.firstChild.id = 'path';
  detail.append(make('h2', '', node.title || node.name));
  for (const part of node.parts || []) detail.append(shape(part));
  detail.scrollTop = 0;
  light();
}

function shape(part) {
  const [kind, label, content, folded] = part;
  const wide = kind === 'table' ? table(content) : kind === 'facts' ? facts(content, !label) : null;
  const element = make(folded ? 'details' : 'section', 'part');
  if (label) element.append(make(folded ? 'summary' : 'div', folded ? '' : 'label', label));
  if (wide) element.append(wide);
  else if (folded) element.addEventListener('toggle', () => { if (element.open && element.children.length === 1) { element.append(...block(kind, content)); light(); } });
  else element.append(...block(kind, content));
  return element;
}

function block(kind, place) {
  const text = texts[place], pre = make('pre', kind);
  const fill = length => {
    pre.replaceChildren();
    if (kind === 'code' && data.marks[place]) colour(pre, text.slice(0, length), data.marks[place]); else pre.textContent = text.slice(0, length);
  };
  fill(AT_ONCE);
  if (text.length <= AT_ONCE) return [pre];
  const more = make('button', 'more', `Show all ${grouped(text.length)} characters`);
  more.type = 'button';
  more.addEventListener('click', () => { fill(text.length); more.remove(); light(); });
  return [pre, more];
}

function colour(pre, text, marks) { // marks: colour, length, colour, length, ...
  let start = 0;
  for (let place = 0; place < marks.length && start < text.length; place += 2) {
    const piece = text.slice(start, start += marks[place + 1]);
    pre.append(marks[place] ? make('span', data.colours[marks[place]], piece) : piece);
  }
  pre.append(text.slice(start));
}

function facts(pairs, flowing) { // in one flow of words, or one below the other
  const element = make('dl', flowing ? 'flow' : '');
  for (const [name, value] of pairs) {
    const pair = [make('dt', '', name), make('dd', '', value)];
    if (flowing) { const both = make('div'); both.append(...pair); element.append(both); } else element.append(...pair);
  }
  return element;
}

function table(content) {
  const element = make('table'), head = make('tr');
  const right = place => content.right.includes(place) ? 'right' : '';
  content.columns.forEach((name, place) => head.append(make(name ? 'th' : 'td', right(place), name)));
  element.append(head);
  content.rows.forEach((cells, line) => {
    const tr = make('tr', line === content.won ? 'won' : '');
    cells.forEach((cell, place) => tr.append(make('td', right(place), cell)));
    const target = content.to[line];
    if (target != null) {
      tr.dataset.to = target;
      const go = () => { select(target, true); tree.focus(); };
      tr.tabIndex = 0;
      tr.addEventListener('click', go);
      tr.addEventListener('keydown', event => { if (event.key === 'Enter') { go(); event.preventDefault(); event.stopPropagation(); } });
    }
    element.append(tr);
  });
  return element;
}

// ---- search: steps that match stay in the outline, with those above them
let lower = null;
function search(words) {
  const word = words.toLowerCase();
  for (const node of nodes) delete node.closed;
  if (!word) { matches = null; matching.clear(); reveal(current); }
  else {
    lower = lower || texts.map(text => text.toLowerCase());
    const inText = lower.map(text => text.includes(word));
    const has = part => part[0] === 'table' ? part[2].rows.some(cells => cells.some(cell => String(cell).toLowerCase().includes(word)))
      : part[0] === 'facts' ? part[2].some(pair => pair[1].toLowerCase().includes(word)) : inText[part[2]];
    matches = [];
    kept = new Set();
    nodes.forEach((node, place) => {
      if (!node.name.toLowerCase().includes(word) && !node.note.toLowerCase().includes(word) && !(node.parts || []).some(has)) return;
      matches.push(place);
      for (let above = place; above >= 0 && !kept.has(above); above = nodes[above].parent) kept.add(above);
    });
    matching = new Set(matches);
  }
  list();
  if (matches && matches.length && !matching.has(current)) select(matches.find(place => place > current) ?? matches[0], true);
  else select(current);
  tally();
  light();
}

function tally() {
  const line = matches ? matches.indexOf(current) : -1;
  count.textContent = !matches ? '' : matches.length ? `${line < 0 ? '–' : line + 1}/${matches.length}` : 'none';
}

function light() { // marks the words in the open texts without touching the page's elements
  if (!window.CSS || !CSS.highlights) return;
  const word = box.value.toLowerCase(), ranges = [];
  if (matches && word) {
    const walker = document.createTreeWalker(detail, NodeFilter.SHOW_TEXT);
    while (walker.nextNode() && ranges.length < 2000) {
      const text = walker.currentNode.data.toLowerCase();
      // A few letters change their length with their case; their place is then not known.
      if (text.length !== walker.currentNode.data.length) continue;
      for (let start = text.indexOf(word); start >= 0 && ranges.length < 2000; start = text.indexOf(word, start + word.length)) {
        const range = new Range();
        range.setStart(walker.currentNode, start);
        range.setEnd(walker.currentNode, start + word.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set('found', new Highlight(...ranges));
  if (ranges.length) {
    const seen = ranges[0].getBoundingClientRect(), frame = detail.getBoundingClientRect();
    if (seen.bottom > frame.bottom) detail.scrollTop += seen.top - frame.top - frame.height / 3;
  }
}

// ---- keys
function among(places, step) { // the next of some places, round the end
  if (!places.length) return;
  const next = step > 0 ? places.find(place => place > current) : places.findLast(place => place < current);
  select(next ?? places[step > 0 ? 0 : places.length - 1], true);
  tally();
}

function move(step) {
  const line = placeOf.get(current) ?? 0;
  if (shown.length) select(shown[Math.max(0, Math.min(shown.length - 1, line + step))]);
  tally();
}

const alike = () => nodes.map((node, place) => place).filter(place => nodes[place].kind === nodes[current].kind);
const failed = () => nodes.map((node, place) => place).filter(place => nodes[place].bad);
const isOpen = place => nodes[place].below.length && (matches ? !nodes[place].closed : nodes[place].unfolded);
const inwards = () => isOpen(current) ? move(1) : toggle(current, true);
const outwards = () => isOpen(current) ? toggle(current, false) : nodes[current].parent >= 0 && select(nodes[current].parent);
const all = open => { nodes.forEach(node => { if (matches) node.closed = !open; else node.unfolded = open || node.depth === 0; }); if (!open) climb(); list(); select(current); };
const climb = () => { while (nodes[current].depth > 1) current = nodes[current].parent; describe(); };
const page = step => detail.scrollBy(0, step * detail.clientHeight * 0.85);
const pageful = () => Math.max(1, Math.floor(tree.clientHeight / height) - 1);

const keys = {
  ArrowDown: () => move(1), j: () => move(1), ArrowUp: () => move(-1), k: () => move(-1),
  ArrowRight: inwards, l: inwards, ArrowLeft: outwards, h: outwards, Enter: () => toggle(current),
  Home: () => move(-Infinity), g: () => move(-Infinity), End: () => move(Infinity), G: () => move(Infinity),
  PageDown: () => move(pageful()), PageUp: () => move(-pageful()),
  ']': () => among(alike(), 1), '[': () => among(alike(), -1), x: () => among(failed(), 1), X: () => among(failed(), -1),
  n: () => among(matches || [], 1), N: () => among(matches || [], -1), e: () => all(true), c: () => all(false),
  '/': () => { box.focus(); box.select(); }, t: switchTheme, '?': () => find('#keys').showModal(),
  Escape: () => { if (matches) { box.value = ''; search(''); } },
};

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (find('#keys').open) { if (event.key === '?') { find('#keys').close(); event.preventDefault(); } return; }
  if (event.target === box) {
    if (event.key === 'Escape') { box.value = ''; search(''); tree.focus(); event.preventDefault(); }
    if (event.key === 'ArrowDown') { tree.focus(); event.preventDefault(); }
    if (event.key === 'Enter') { searchNow(); among(matches || [], event.shiftKey ? -1 : 1); event.preventDefault(); }
    return;
  }
  const inControl = event.target.closest('button, summary, dialog');
  if (inControl && (event.key === 'Enter' || event.key === ' ')) return;
  const run = event.key === ' ' ? () => page(event.shiftKey ? -1 : 1) : Object.hasOwn(keys, event.key) && keys[event.key];
  if (run) { run(); event.preventDefault(); }
});

let waiting = 0;
const searchNow = () => { if (waiting) { clearTimeout(waiting); waiting = 0; search(box.value); } };
box.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(() => { waiting = 0; search(box.value); }, nodes.length > 2000 ? 150 : 30); });
find('#help').addEventListener('click', () => find('#keys').showModal());
find('#keys').addEventListener('click', event => { if (event.target === find('#keys')) find('#keys').close(); });

// ---- light and dark; where nothing can be stored, the choice holds until the page is left
const stored = { get() { try { return localStorage.getItem('rlm-theme'); } catch { return null; } }, set(value) { try { localStorage.setItem('rlm-theme', value); } catch { /* not allowed */ } } };
function switchTheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)').matches, now = document.documentElement.dataset.theme || (dark ? 'dark' : 'light');
  document.documentElement.dataset.theme = now === 'dark' ? 'light' : 'dark';
  stored.set(document.documentElement.dataset.theme);
}
find('#theme').addEventListener('click', switchTheme);
if (['light', 'dark'].includes(stored.get())) document.documentElement.dataset.theme = stored.get();

// ---- sizes
const divider = find('#divider');
function divide(width) {
  width = Math.max(240, Math.min(innerWidth - 260, width));
  find('#outline').style.width = `${width}px`;
  divider.setAttribute('aria-valuenow', Math.round(100 * width / innerWidth));
}
divider.addEventListener('pointerdown', event => {
  const drag = moved => divide(moved.clientX);
  divider.setPointerCapture(event.pointerId);
  divider.addEventListener('pointermove', drag);
  divider.addEventListener('lostpointercapture', () => divider.removeEventListener('pointermove', drag), { once: true });
});
divider.addEventListener('keydown', event => {
  const step = { ArrowLeft: -24, ArrowRight: 24 }[event.key];
  if (!step) return;
  divide(find('#outline').offsetWidth + step);
  event.preventDefault();
  event.stopPropagation();
});
const fit = () => { height = matchMedia('(max-width: 760px)').matches ? 32 : 24; list(); };
addEventListener('resize', fit);
let painting = false;
tree.addEventListener('scroll', () => { if (!painting) { painting = true; requestAnimationFrame(() => { painting = false; paint(); }); } });

document.title = `${data.title} – rlm view`;
find('h1').textContent = data.title;
find('h1').title = data.title;
data.facts.forEach(([text, bad], place) => find('#facts').append(place ? ' · ' : '', make('span', bad ? 'bad' : '', text)));
fit();
describe();
if (window === window.top) tree.focus({ preventScroll: true }); // in a notebook the keys stay with the notebook
performance.mark('ready');
