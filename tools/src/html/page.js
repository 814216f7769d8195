
// The page: what is open is in the address (#n12 is a node, #n12-40 its children from the 40th on), all else is here.

const nodes = read();
const root = nodes[0];
let measure = 'allocated';
let open = root;
let chosen = null;
let hits = null;

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
  if (open.parent) go(open.parent);
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
    const item = element('li', '', here ? cutName(node) : linkTo(node, cutName(node)));
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
  if (open.unique !== undefined) facts.push(`${size(open.unique)} freed if removed`);
  if (open !== root) facts.push(`${share(valueOf(open), valueOf(root))} of all`);
  const about = element('span', 'facts', swatch(open.colour), facts.join(' · '));
  byId('about').replaceChildren(about, ...(open.note ? [' ', nameOf({ name: open.note }, 'note')] : []));
}

// Search.

function search() {
  const wanted = byId('query').value.trim().toLowerCase();
  // What was found, with all that is in it, and with all that it is in.
  hits = wanted ? { found: new Set(), within: new Set(), holds: new Set(), largest: [], at: -1 } : null;
  let bytes = 0;
  if (hits) {
    const has = (text) => text && text.toLowerCase().includes(wanted);
    // Parents come before their children.
    for (const node of nodes) {
      const counted = hits.within.has(node.parent);
      const found = has(node.name) || has(node.note);
      if (counted || found) hits.within.add(node);
      if (!found) continue;
      if (!counted) bytes += valueOf(node);
      hits.found.add(node);
      for (let up = node; up && !hits.holds.has(up); up = up.parent) hits.holds.add(up);
    }
    hits.largest = [...hits.found].sort((a, b) => valueOf(b) - valueOf(a));
  }
  const found = hits ? hits.found.size : 0;
  byId('found').textContent = !hits ? '' : found ? `${count(found)} found, ${size(bytes)}` : 'none found';
  drawHits();
  mark();
}

// Rows of what was found; the map marks all of it.
const LISTED = 12;

function drawHits() {
  const largest = hits ? hits.largest : [];
  const item = (node) => {
    const path = [];
    for (let up = node.parent; up && up !== root; up = up.parent) path.unshift(up.name);
    const link = linkTo(node.parent || node, swatch(node.colour), cutName(node));
    link.addEventListener('click', () => { pending = node; if (open === (node.parent || node)) settle(); });
    const where = cutName({ name: path.join(' / ') || root.name }, 'where');
    return element('li', '', link, where, element('span', 'size', size(valueOf(node))));
  };
  byId('hits').hidden = !largest.length;
  byId('hits').firstElementChild.replaceChildren(...largest.slice(0, LISTED).map(item));
  const more = largest.length - LISTED;
  byId('hits').lastElementChild.textContent = more > 0 ? `${count(more)} more; Enter goes to the next largest` : '';
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

byId('entries').tHead.addEventListener('click', (event) => {
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
  // A bundle holds the smallest children by the old measure, so it has no meaning by the new one: its parent is opened.
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
