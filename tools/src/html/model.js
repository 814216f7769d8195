'use strict';
// What is shown: the tree as read from the page, and text about it.

// Directories and files have the colour of what they belong to, a heading that of what it holds.
const SPREAD = { 'directory': true, 'file': true };
const COLOURS = { 'images': 'image' };

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId('data').textContent);

/** The tree of the data block as an array: the root first, parents before children. */
function read() {
  const nodes = [];
  data.nodes.forEach(([parent, kind, allocated, apparent, files, name, note, unique], id) => {
    const node = { id, kind: data.kinds[kind], allocated, apparent, files, unique, name, note, parent: null, children: [] };
    if (parent >= 0) {
      node.parent = nodes[parent];
      node.parent.children.push(node);
    }
    node.colour = SPREAD[node.kind] && node.parent ? node.parent.colour : COLOURS[node.kind] || node.kind;
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
  node.children.push({ ...rest, id: `${node.id}-rest`, kind: 'rest', colour: 'rest', name: 'not itemised', note, parent: node, children: [] });
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
    kind: 'small entries',
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

// Letters at the end of a name that stay where the name is cut: tags and file names tell names apart.
const TAIL = 10;

/**
 * A name that loses its middle where there is no room for it; that of an image first what stands before its last part.
 * `room` is how many letters there are to be seen, if known.
 */
function cutName(node, className, room = Infinity) {
  const letters = [...node.name];
  if (letters.length <= Math.min(room, 2 * TAIL)) return nameOf(node, className);
  const hidden = node.kind === 'image' && room < Infinity ? letters.lastIndexOf('/') + 1 : 0;
  const last = letters.length - hidden;
  let tail = Math.min(TAIL, Math.floor(room / 2.5), last - 1);
  if (tail < 3) tail = 0;
  // All of the last part, and the dots that the style sheet puts where nothing is left of what stands before.
  if (hidden && last + 2 <= room) tail = last;
  if (!tail && !hidden) return nameOf(node, className);
  const name = element('bdi', `${className || ''} cut`);
  const part = (from, to, kind) => name.append(element('span', kind, letters.slice(from, to).join('')));
  if (hidden) part(0, hidden, 'before');
  part(hidden, letters.length - tail, 'start');
  part(letters.length - tail, letters.length, 'end');
  name.title = node.name;
  return name;
}
const swatch = (colour) => element('i', `swatch k-${colour.replace(' ', '-')}`);

function linkTo(node, ...content) {
  const link = element('a', '', ...content);
  link.href = `#n${node.id}`;
  return link;
}
