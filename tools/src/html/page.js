// The page: what is open is in the address (#n12 is a node, #n12-40 its children from the 40th on), all else is here.

const ROWS = 200;
const SPREAD = { 'directory': true, 'file': true };
const byId = (id) => document.getElementById(id);
const map = byId('map');

const nodes = read();
const root = nodes[0];
let measure = 'allocated';
let open = root;
let chosen = null;
let sorting = { key: null, up: false };
let allRows = false;
let boxes = [];
let hits = null;

function read() {
  const data = JSON.parse(byId('data').textContent);
  const nodes = [];
  data.nodes.forEach(([parent, kind, allocated, apparent, files, name, note], id) => {
    const node = { id, kind: data.kinds[kind], allocated, apparent, files, name, note, parent: null, children: [] };
    if (parent >= 0) {
      node.parent = nodes[parent];
      node.parent.children.push(node);
    }
    // Directories and files have the colour of what they belong to.
    node.colour = SPREAD[node.kind] && node.parent ? node.parent.colour : node.kind;
    nodes.push(node);
  });
  for (const node of nodes) itemise(node);
  return nodes;
}

/** Gives a node a child for what its children do not account for. */
function itemise(node) {
  if (!node.children.length) return;
  const left = (key) => Math.max(0, node.children.reduce((left, child) => left - child[key], node[key]));
  const rest = { allocated: left('allocated'), apparent: left('apparent'), files: left('files') };
  if (!rest.allocated && !rest.apparent) return;
  const note = 'What the entries beside this one leave of the whole: its own records, or entries too many to list.';
  node.children.push({ ...rest, kind: 'rest', colour: 'rest', name: 'not itemised', note, parent: node, children: [] });
}

const valueOf = (node) => node[measure];

/** The children, largest first. */
function childrenOf(node) {
  if (node.sorted !== measure) {
    node.children.sort((a, b) => valueOf(b) - valueOf(a) || (a.name < b.name ? -1 : 1));
    node.sorted = measure;
  }
  return node.children;
}

/** One node for all children of a node from a place on. */
function bundle(node, from, children) {
  const sum = (key) => children.reduce((sum, child) => sum + child[key], 0);
  return {
    id: `${node.bundled ? node.parent.id : node.id}-${(node.from || 0) + from}`,
    bundled: true,
    from: (node.from || 0) + from,
    kind: 'bundle',
    colour: 'rest',
    name: `${count(children.length)} smaller`,
    allocated: sum('allocated'),
    apparent: sum('apparent'),
    files: sum('files'),
    parent: node.bundled ? node.parent : node,
    children: children.slice(),
  };
}

// Text.

/** Bytes with three significant digits and powers of a thousand, as docker prints them. */
function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];
  let unit = 0;
  for (; bytes >= 1000 && unit + 1 < units.length; unit++) bytes /= 1000;
  return Number(bytes.toFixed(!unit || bytes >= 100 ? 0 : bytes >= 10 ? 1 : 2)) + units[unit];
}

const count = (number) => number.toLocaleString('en');

function share(part, whole) {
  const percent = whole ? 100 * part / whole : 0;
  return percent && percent < 0.1 ? '<0.1%' : `${percent.toFixed(percent < 99.95 ? 1 : 0)}%`;
}

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

/** A name on its own: whatever direction its letters have, they do not move what stands beside it. */
const nameOf = (node, className) => element('bdi', className, node.name);
const swatch = (colour) => element('i', `swatch k-${colour.replace(' ', '-')}`);

function linkTo(node, ...content) {
  const link = element('a', '', ...content);
  link.href = `#n${node.id}`;
  return link;
}

// What is open.

function fromAddress() {
  const [, id, from] = /^#n(\d+)(?:-(\d+))?$/.exec(location.hash) || [];
  const node = nodes[id] || root;
  const start = Number(from);
  return from && start < node.children.length ? bundle(node, start, childrenOf(node).slice(start)) : node;
}

function go(node) {
  if (String(node.id) !== String(open.id)) location.hash = `n${node.id}`;
}

function up() {
  if (!open.parent) return;
  const from = open;
  go(open.parent);
  chosen = from;
}

/** What a click on a box opens: the box, or what it is in where there is nothing in it. */
function enter(node) {
  if (node.bundled && node.parent !== open && node.parent !== open.parent) return go(node.parent);
  if (node.children.length) return go(node);
  if (node.parent && node.parent !== open && !(open.bundled && node.parent === open.parent)) return go(node.parent);
  choose(node);
  const row = rowOf(node);
  if (row) row.scrollIntoView({ block: 'nearest' });
}

function show() {
  const inTable = byId('rows').contains(document.activeElement) || byId('path').contains(document.activeElement);
  open = fromAddress();
  chosen = null;
  allRows = false;
  document.title = open === root ? byId('title').textContent : `${open.name} – ${byId('title').textContent}`;
  hideTip();
  drawPath();
  drawAbout();
  drawMap();
  drawTable();
  if (inTable) byId('caption').focus({ preventScroll: true });
}

function drawPath() {
  const path = [];
  for (let node = open; node; node = node.parent) path.unshift(node);
  const item = (node) => {
    const here = node === open;
    const item = element('li', '', here ? nameOf(node) : linkTo(node, nameOf(node)));
    if (here) item.setAttribute('aria-current', 'page');
    return item;
  };
  // Long paths keep their ends.
  const gap = path.length > 9 ? [element('li', '', '…')] : [];
  const ends = gap.length ? [path.slice(0, 3), path.slice(-5)] : [path, []];
  byId('path').replaceChildren(...ends[0].map(item), ...gap, ...ends[1].map(item));
}

function drawAbout() {
  const facts = [
    open.kind,
    `${size(open.allocated)} allocated`,
    `${size(open.apparent)} apparent`,
    `${count(open.files)} ${open.files === 1 ? 'file' : 'files'}`,
  ];
  if (open !== root) facts.push(`${share(valueOf(open), valueOf(root))} of all`);
  const about = element('span', 'facts', swatch(open.colour), ' ', facts.join(' · '));
  byId('about').replaceChildren(about, ...(open.note ? [' ', nameOf({ name: open.note }, 'note')] : []));
}

// The map.

function drawMap() {
  const { clientWidth: width, clientHeight: height } = map;
  boxes = width && height ? treemap(open, width, height, childrenOf, valueOf, bundle) : [];
  map.replaceChildren(...boxes.map(drawBox));
  if (!boxes.length) map.append(element('p', 'empty', 'Nothing here takes space.'));
  const colours = [...new Set(boxes.map((box) => box.node.colour))].filter((colour) => colour !== 'rest');
  byId('legend').replaceChildren(...colours.map((colour) => element('li', '', swatch(colour), colour)));
  mark();
}

function drawBox(box) {
  const { node, headed, depth } = box;
  const left = Math.round(box.x);
  const top = Math.round(box.y);
  const width = Math.round(box.x + box.width) - left;
  const height = Math.round(box.y + box.height) - top;
  const kind = `k-${node.colour.replace(' ', '-')}`;
  const tile = element('div', `tile ${kind} d${depth}${headed ? ' headed' : ''}${node.kind === 'rest' ? ' rest' : ''}`);
  Object.assign(tile.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
  if (width >= 40 && height >= 17) {
    tile.append(nameOf(node, 'name'));
    if (headed ? width >= 110 : height >= 34) tile.append(element('span', 'size', size(valueOf(node))));
  }
  tile.box = box;
  box.tile = tile;
  return tile;
}

/** Shows what is chosen and what was found, in the map and in the table. */
function mark() {
  const same = (node) => chosen && String(node.id) === String(chosen.id) && node.name === chosen.name;
  const holds = (node) => hits && (hits.holds.has(node) || node.bundled && node.children.some((child) => hits.holds.has(child)));
  map.classList.toggle('searching', Boolean(hits));
  for (const { node, tile } of boxes) {
    tile.classList.toggle('chosen', Boolean(same(node)));
    tile.classList.toggle('hit', Boolean(hits && within(node)));
    tile.classList.toggle('holds', Boolean(holds(node)));
  }
  for (const row of byId('rows').children) {
    row.classList.toggle('chosen', Boolean(same(row.node)));
    row.classList.toggle('hit', Boolean(holds(row.node) || hits && hits.found.has(row.node)));
  }
}

/** Whether a node or anything it is in was found. */
function within(node) {
  for (; node; node = node.parent) if (hits.found.has(node)) return true;
  return false;
}

function choose(node) {
  chosen = node;
  mark();
  if (!node) return;
  const parts = [node.name, node.kind, size(valueOf(node)), `${share(valueOf(node), valueOf(open))} of ${open.name}`];
  byId('said').textContent = parts.join(', ');
}

/** Chooses the nearest box of the first depth in a direction. */
function step(dx, dy) {
  const top = boxes.filter((box) => box.depth === 1);
  const now = top.find((box) => box.tile.classList.contains('chosen'));
  let next = top[0];
  if (now) {
    const distance = (box) => {
      const x = box.x + box.width / 2 - now.x - now.width / 2;
      const y = box.y + box.height / 2 - now.y - now.height / 2;
      const ahead = x * dx + y * dy;
      return ahead > 1 ? ahead + 3 * Math.abs(x * dy + y * dx) : Infinity;
    };
    const nearest = top.reduce((best, box) => (distance(box) < distance(best) ? box : best), now);
    next = nearest;
  }
  if (!next) return;
  choose(next.node);
  const { left, top: above, width, height } = next.tile.getBoundingClientRect();
  showTip(next.node, left + Math.min(width, 160) / 2, above + Math.min(height, 60) / 2);
}

function showTip(node, x, y) {
  const tip = byId('tip');
  const facts = [
    ['Allocated', size(node.allocated)],
    ['Apparent', size(node.apparent)],
    ['Files', count(node.files)],
    ['Of parent', node.parent ? share(valueOf(node), valueOf(node.parent)) : '100%'],
    ['Of all', share(valueOf(node), valueOf(root))],
  ];
  tip.replaceChildren(
    nameOf(node, 'name'),
    element('span', 'kind', swatch(node.colour), node.kind),
    element('dl', '', ...facts.map(([label, value]) => element('div', '', element('dt', '', label), element('dd', '', value)))),
  );
  if (node.note) tip.append(nameOf({ name: node.note }, 'note'));
  tip.hidden = false;
  const { offsetWidth: width, offsetHeight: height } = tip;
  const right = x + 16 + width > innerWidth - 8 ? x - 16 - width : x + 16;
  const below = y + 16 + height > innerHeight - 8 ? y - 16 - height : y + 16;
  tip.style.left = `${Math.max(8, right)}px`;
  tip.style.top = `${Math.max(8, below)}px`;
}

function hideTip() {
  byId('tip').hidden = true;
}

// The table.

function drawTable() {
  const { key, up } = sorting;
  const rows = childrenOf(open).slice();
  if (key) {
    const order = (a, b) => (typeof a[key] === 'number' ? a[key] - b[key] : a[key].localeCompare(b[key], 'en'));
    rows.sort((a, b) => (up ? order(a, b) : order(b, a)));
  }
  for (const head of document.querySelectorAll('th[data-key]')) {
    const sorted = head.dataset.key === (key || measure);
    head.setAttribute('aria-sort', !sorted ? 'none' : key && up ? 'ascending' : 'descending');
    head.classList.toggle('measured', head.dataset.key === measure);
  }
  byId('caption').replaceChildren('In ', nameOf(open), ` · ${count(rows.length)} ${rows.length === 1 ? 'entry' : 'entries'}`);
  const shown = allRows ? rows : rows.slice(0, ROWS);
  byId('rows').replaceChildren(...shown.map(drawRow));
  byId('more').hidden = shown.length === rows.length;
  byId('more').firstElementChild.textContent = `Show all ${count(rows.length)} entries`;
  mark();
}

function drawRow(node) {
  const name = element('th', 'name', swatch(node.colour), node.children.length ? linkTo(node, nameOf(node)) : nameOf(node));
  name.scope = 'row';
  if (node.note) {
    const note = nameOf({ name: node.note }, 'note');
    note.title = node.note;
    name.append(note);
  }
  const bar = element('i', `bar k-${node.colour.replace(' ', '-')}`);
  bar.style.width = `${Math.min(100, 100 * valueOf(node) / (valueOf(open) || 1))}%`;
  const sized = (key) => element('td', `number${key === measure ? ' measured' : ''}`, size(node[key]));
  const row = element('tr', '', name, element('td', 'wide', node.kind), sized('allocated'), sized('apparent'),
    element('td', 'number wide', count(node.files)),
    element('td', 'number share', element('span', 'track', bar), share(valueOf(node), valueOf(open))));
  row.node = node;
  return row;
}

const rowOf = (node) => [...byId('rows').children].find((row) => row.node === node);

// Search.

function search() {
  const wanted = byId('query').value.trim().toLowerCase();
  hits = wanted ? { found: new Set(), holds: new Set(), largest: [], at: -1 } : null;
  let bytes = 0;
  if (hits) {
    const has = (text) => text && text.toLowerCase().includes(wanted);
    // Parents come before their children.
    for (const node of nodes) {
      if (!has(node.name) && !has(node.note)) continue;
      // What is in something found is counted with it.
      if (!within(node)) bytes += valueOf(node);
      hits.found.add(node);
      for (let up = node; up && !hits.holds.has(up); up = up.parent) hits.holds.add(up);
    }
    hits.largest = [...hits.found].sort((a, b) => valueOf(b) - valueOf(a));
  }
  const found = hits ? hits.found.size : 0;
  byId('found').textContent = !hits ? '' : found ? `${count(found)} found, ${size(bytes)}` : 'none found';
  mark();
}

/** Opens what the next largest thing found is in, and chooses it. */
function nextHit() {
  if (!hits || !hits.largest.length) return;
  hits.at = (hits.at + 1) % hits.largest.length;
  const node = hits.largest[hits.at];
  go(node.parent || node);
  pending = node;
  if (open === (node.parent || node)) settle();
}

let pending = null;

function settle() {
  if (pending) choose(pending);
  pending = null;
}

// Events.

const nodeAt = (event) => {
  const tile = event.target.closest('.tile');
  return tile && tile.box.node;
};

addEventListener('hashchange', () => {
  const from = open;
  show();
  if (pending) settle();
  else if (from.parent && String(from.parent.id) === String(open.id)) choose(from);
});

map.addEventListener('click', (event) => {
  const node = nodeAt(event);
  if (node) enter(node);
});

map.addEventListener('pointermove', (event) => {
  const node = nodeAt(event);
  if (node && event.pointerType === 'mouse') showTip(node, event.clientX, event.clientY);
  else hideTip();
});

map.addEventListener('pointerleave', hideTip);
map.addEventListener('blur', hideTip);

map.addEventListener('keydown', (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (steps[event.key]) step(...steps[event.key]);
  else if (event.key === 'Enter' && chosen) enter(chosen);
  else return;
  event.preventDefault();
});

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const typing = event.target === byId('query');
  if (event.key === 'Escape' && typing && byId('query').value) {
    byId('query').value = '';
    search();
  } else if (event.key === 'Escape' || event.key === 'Backspace' && !typing) {
    up();
  } else if (event.key === '/' && !typing) {
    byId('query').focus();
  } else {
    return;
  }
  event.preventDefault();
});

byId('rows').addEventListener('pointerover', (event) => {
  const row = event.target.closest('tr');
  if (row && event.pointerType === 'mouse' && row.node !== chosen) {
    chosen = row.node;
    mark();
  }
});

document.querySelector('thead').addEventListener('click', (event) => {
  const head = event.target.closest('th[data-key]');
  if (!head) return;
  const { key } = head.dataset;
  const text = key === 'name' || key === 'kind';
  sorting = { key, up: sorting.key === key || !sorting.key && key === measure ? !sorting.up : text };
  drawTable();
});

byId('more').addEventListener('click', () => {
  allRows = true;
  drawTable();
});

byId('measure').addEventListener('change', (event) => {
  measure = event.target.value;
  // A bundle is of the smallest by the other measure.
  if (open.bundled) history.replaceState(null, '', `#n${open.parent.id}`);
  show();
  search();
});

byId('search').addEventListener('submit', (event) => {
  event.preventDefault();
  nextHit();
});
byId('query').addEventListener('input', search);
new ResizeObserver(() => drawMap()).observe(map);
// Paper has a width of its own, and no turning of pages to see more rows.
matchMedia('print').addEventListener('change', drawMap);

document.querySelector('main').hidden = false;
search();
show();
