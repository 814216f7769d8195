
// The table of what is open: all that the map shows, and what is too small for it.

const ROWS = 200;
let sorting = { key: null, up: false };
let allRows = false;

function drawTable() {
  const { key, up } = sorting;
  const rows = childrenOf(open).slice();
  if (key) {
    const number = (node) => (node[key] === undefined ? -1 : node[key]);
    const order = (a, b) => (key === 'name' || key === 'kind' ? a[key].localeCompare(b[key], 'en') : number(a) - number(b));
    rows.sort((a, b) => (up ? order(a, b) : order(b, a)));
  }
  byId('entries').classList.toggle('plain', rows.every((node) => node.unique === undefined));
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
  const freed = node.unique === undefined ? '' : size(node.unique);
  if (freed) name.append(element('span', 'freed', `${freed} freed if removed`));
  const bar = element('i', `bar k-${node.colour.replace(' ', '-')}`);
  bar.style.width = `${Math.min(100, 100 * valueOf(node) / (valueOf(open) || 1))}%`;
  const sized = (key) => element('td', `number${key === measure ? ' measured' : ''}`, size(node[key]));
  const row = element('tr', '', name, element('td', 'wide', node.kind), sized('allocated'), sized('apparent'),
    element('td', 'number wide unique', freed), element('td', 'number wide', count(node.files)),
    element('td', 'number share', element('span', 'track', bar), element('b', '', share(valueOf(node), valueOf(open)))));
  row.node = node;
  return row;
}

const rowOf = (node) => [...byId('rows').children].find((row) => row.node === node);
