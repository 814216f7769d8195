
// Where the boxes of a map go. Knows sizes and rectangles, nothing of the page.

// A box gets its children drawn within it when it is at least this large; children cover at least SEEN square pixels.
const NEST = { width: 52, height: 44, head: 19, pad: 3 };
const SEEN = { top: 90, within: 70 };
// At least FIRST and at most LAST children of the open box are boxes of their own.
const FIRST = 40;
const LAST = 800;
const BOXES = 2500;
const DEPTH = 4;

/** The boxes for what is in `open`, outer ones first: {node, x, y, width, height, depth, headed}. */
function treemap(open, width, height, childrenOf, valueOf, bundle) {
  const boxes = [];
  const left = [{ node: open, x: 0, y: 0, width, height, depth: 0 }];
  for (let at = 0; at < left.length && boxes.length < BOXES; at++) {
    const outer = left[at];
    const children = visible(outer, childrenOf(outer.node), valueOf, bundle);
    for (const box of squarify(children, outer, valueOf)) {
      box.depth = outer.depth + 1;
      boxes.push(box);
      const roomy = box.width >= NEST.width && box.height >= NEST.height;
      if (!roomy || box.depth === DEPTH || box.node.bundled || !childrenOf(box.node).length) continue;
      box.headed = true;
      left.push({
        node: box.node,
        x: box.x + NEST.pad,
        y: box.y + NEST.head,
        width: box.width - 2 * NEST.pad,
        height: box.height - NEST.head - NEST.pad,
        depth: box.depth,
      });
    }
  }
  return boxes;
}

/** The children large enough to be seen, largest first, and one bundle of all others. */
function visible(outer, children, valueOf, bundle) {
  const total = children.reduce((sum, child) => sum + valueOf(child), 0);
  if (!total) return [];
  const top = outer.depth === 0;
  const least = total * (top ? SEEN.top : SEEN.within) / (outer.width * outer.height);
  let end = children.findIndex((child) => valueOf(child) < least);
  if (end < 0) end = children.length;
  if (top) end = Math.min(Math.max(end, FIRST), LAST);
  let last = children.length;
  while (last > end && !valueOf(children[last - 1])) last--;
  if (last - end <= 1) return children.slice(0, last);
  const rest = bundle(outer.node, end, children.slice(end));
  const seen = children.slice(0, end);
  const place = seen.findIndex((child) => valueOf(child) < valueOf(rest));
  seen.splice(place < 0 ? seen.length : place, 0, rest);
  return seen;
}

/** Fills the rectangle row by row along its shorter side, each row as long as that brings its boxes nearer to squares. */
function squarify(nodes, area, valueOf) {
  let { x, y, width, height } = area;
  const scale = width * height / nodes.reduce((sum, node) => sum + valueOf(node), 0);
  const boxes = [];
  for (let at = 0; at < nodes.length;) {
    const side = Math.max(Math.min(width, height), 1e-6);
    let sum = 0;
    let worst = Infinity;
    let end = at;
    const largest = valueOf(nodes[at]) * scale;
    for (; end < nodes.length; end++) {
      const size = valueOf(nodes[end]) * scale;
      const thick = (sum + size) / side;
      const ratio = Math.max(largest / thick / thick, thick * thick / size);
      if (ratio > worst) break;
      worst = ratio;
      sum += size;
    }
    const thick = Math.min(sum / side, Math.max(width, height));
    let along = 0;
    for (; at < end; at++) {
      const length = valueOf(nodes[at]) * scale / thick;
      const box = width >= height
        ? { x, y: y + along, width: thick, height: length }
        : { x: x + along, y, width: length, height: thick };
      boxes.push({ node: nodes[at], ...box });
      along += length;
    }
    if (width >= height) {
      x += thick;
      width -= thick;
    } else {
      y += thick;
      height -= thick;
    }
  }
  return boxes;
}
