
// The map as it is drawn: boxes, what is marked among them, and what is told of the one pointed at.

// The widths of a letter and of a digit in a box.
const LETTER = 7;
const DIGIT = 8;
const map = byId('map');
let boxes = [];

function drawMap() {
  const { clientWidth: width, clientHeight: height } = map;
  boxes = width && height ? treemap(open, width, height, childrenOf, valueOf, bundle) : [];
  map.replaceChildren(...boxes.map(drawBox));
  const none = valueOf(open) ? 'It is not divided further.' : 'Nothing here takes space.';
  if (!boxes.length) map.append(element('p', 'empty', none));
  const colours = data.kinds.filter((colour) => boxes.some((box) => box.node.colour === colour));
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
  // A few letters say something, half a number does not.
  const fits = (needed) => height >= 18 && width >= 14 + needed;
  if (fits(LETTER * Math.min(node.name.length, 5))) {
    tile.classList.add('named');
    const sized = size(valueOf(node));
    const needed = DIGIT * sized.length;
    const shown = headed ? fits(needed + 9 * LETTER) : height >= 36 && fits(needed);
    tile.append(cutName(node, 'name', Math.floor((width - 14 - (headed && shown ? needed + 8 : 0)) / LETTER)));
    if (shown) tile.append(element('span', 'size', sized));
  }
  tile.box = box;
  box.tile = tile;
  return tile;
}

/** Shows what is chosen and what was found, in the map and in the table. */
function mark() {
  const same = (node) => chosen && String(node.id) === String(chosen.id);
  const holds = (node) => hits && (hits.holds.has(node) || node.bundled && node.children.some((child) => hits.holds.has(child)));
  map.classList.toggle('searching', Boolean(hits));
  for (const { node, tile } of boxes) {
    tile.classList.toggle('chosen', Boolean(same(node)));
    tile.classList.toggle('hit', Boolean(hits && (hits.within.has(node) || hits.within.has(node.parent))));
    tile.classList.toggle('holds', Boolean(holds(node)));
  }
  for (const row of byId('rows').children) {
    row.classList.toggle('chosen', Boolean(same(row.node)));
    row.classList.toggle('hit', Boolean(holds(row.node)));
  }
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
    ...(node.unique === undefined ? [] : [['Freed if removed', size(node.unique)]]),
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
