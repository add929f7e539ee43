// Heat tables: a line that describes the hovered cell, and choices of what cells say and mean.
//
// A cell is taken by hover, by tap or by the keyboard: Tab enters a table, arrows move, Home and
// End go to the ends of a row. The last one stays.

const CELL = "td:not(.ecco-beside)", HINT = "Hover, tap or tab to a cell.";
const STEPS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  Home: [0, -Infinity], End: [0, Infinity],
};

function element(tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

class HeatMap {
  constructor(card, { fields, colour, tokens, width }, events = {}) {
    this.card = card;
    this.events = events;
    this.own = tokens;
    this.fields = new Map(fields.map((field) => [field.name, field]));
    this.width = width;
    this.readout = element("div", "ecco-cell-readout", HINT);
    this.live = element("div", "ecco-hidden");
    this.live.setAttribute("aria-live", "polite");
    card.append(this.readout, this.live);
    for (const table of card.querySelectorAll(".ecco-heat table")) this.enter(table);
    for (const pane of card.querySelectorAll(".ecco-heat")) fadeWhereMore(pane);
    if (fields.length > 1) this.offer(colour);
    this.listen();
  }

  // One tab stop a table; its cells take the place of the pane that scrolls.
  enter(table) {
    table.setAttribute("role", "grid");
    table.setAttribute("aria-readonly", "true");
    table.setAttribute("aria-label", table.parentNode.getAttribute("aria-label"));
    for (const name of ["role", "tabindex", "aria-label"]) table.parentNode.removeAttribute(name);
    for (const cell of table.querySelectorAll(CELL)) cell.tabIndex = -1;
    table.querySelector(CELL).tabIndex = 0;
  }

  listen() {
    const cellOf = (event) => event.target.closest(`.ecco-heat ${CELL}`);
    for (const type of ["pointerover", "click", "focusin"]) {
      this.card.addEventListener(type, (event) => this.take(cellOf(event)));
    }
    this.card.addEventListener("click", (event) => this.choose(cellOf(event)));
    this.card.addEventListener("keydown", (event) => {
      const cell = cellOf(event), step = STEPS[event.key];
      if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
      if (step) this.move(cell, step);
      else if (event.key === "Enter" && this.events.choose) this.choose(cell);
      else return;
      event.preventDefault();
      event.stopPropagation(); // a notebook has its own use for these keys
    });
  }

  // Row and column among all cells; columns go on from one table to the next.
  placeOf(cell) {
    const tables = [...this.card.querySelectorAll(".ecco-heat table")], own = cell.closest("table");
    const before = tables.slice(0, tables.indexOf(own));
    const across = (row) => [...row.querySelectorAll(CELL)];
    const skipped = before.reduce((sum, table) => sum + across(table.tBodies[0].rows[0]).length, 0);
    const row = [...own.tBodies[0].rows].indexOf(cell.parentNode);
    return [row, skipped + across(cell.parentNode).indexOf(cell)];
  }

  // Listeners are called, and the cell keeps an outline.
  choose(cell) {
    if (!cell || !this.events.choose) return;
    this.chosen?.classList.remove("ecco-chosen");
    this.chosen = cell;
    cell.classList.add("ecco-chosen");
    this.events.choose(this.placeOf(cell));
  }

  chooseAt([row, column]) {
    for (const table of this.card.querySelectorAll(".ecco-heat table")) {
      const cells = table.tBodies[0].rows[row]?.querySelectorAll(CELL) ?? [];
      if (column < cells.length) return this.choose(cells[column]);
      column -= cells.length;
    }
  }

  move(cell, [down, right]) {
    const rows = [...cell.closest("tbody").rows], across = [...cell.parentNode.querySelectorAll(CELL)];
    const column = clamp(across.indexOf(cell) + right, across.length);
    const row = rows[clamp(rows.indexOf(cell.parentNode) + down, rows.length)];
    const next = row.querySelectorAll(CELL)[column];
    next.focus();
    this.reveal(next);
    this.live.textContent = next.title;
  }

  // Headers lie on what scrolls under them.
  reveal(cell) {
    const pane = cell.closest(".ecco-heat"), table = cell.closest("table");
    const box = cell.getBoundingClientRect(), frame = pane.getBoundingClientRect();
    const corner = table.tHead.rows[0].cells[0].getBoundingClientRect();
    pane.scrollLeft -= Math.max(0, frame.left + corner.width - box.left);
    pane.scrollTop -= Math.max(0, frame.top + corner.height - box.top);
  }

  take(cell) {
    if (!cell || cell === this.taken) return;
    this.mark(this.taken, false);
    this.taken = cell;
    this.mark(cell, true);
    this.readout.textContent = cell.title;
    this.events.hover?.(this.placeOf(cell));
    const table = cell.closest("table");
    table.querySelector(`${CELL}[tabindex="0"]`).tabIndex = -1;
    cell.tabIndex = 0;
  }

  mark(cell, on) {
    if (!cell) return;
    cell.classList.toggle("ecco-hovered", on);
    const row = cell.parentNode, head = cell.closest("table").tHead.rows[0];
    for (const header of [row.cells[0], head.cells[cell.cellIndex]]) {
      header.classList.toggle("ecco-of-hovered", on);
    }
  }

  offer(colour) {
    const names = [...this.fields.keys()], choices = element("div", "ecco-choices");
    const both = (name) => { this.say(name); this.paint(name); };
    choices.append(...this.own ? [
      this.choice("Cells", [this.own, ...names], this.own, (name) => this.say(name)),
      this.choice("Colour", names, colour, (name) => this.paint(name)),
    ] : [this.choice("Show", names, colour, both)]);
    this.card.prepend(choices);
    this.cells = [...this.card.querySelectorAll(`.ecco-heat ${CELL}`)];
  }

  choice(label, names, chosen, act) {
    const group = element("div", "");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    const buttons = names.map((name) => {
      const button = element("button", "ecco-choice", name);
      button.type = "button";
      button.addEventListener("click", () => { press(name); act(name); });
      return button;
    });
    const press = (name) => buttons.forEach((button) => {
      button.setAttribute("aria-pressed", String(button.textContent === name));
    });
    press(chosen);
    group.append(element("span", "", label), ...buttons);
    return group;
  }

  say(name) {
    this.tokens ??= this.cells.map((cell) => cell.textContent);
    const field = this.fields.get(name), texts = field?.texts.split(" ") ?? this.tokens;
    this.cells.forEach((cell, i) => { cell.textContent = texts[i]; });
    this.card.style.setProperty("--ecco-cell", `${field?.width ?? this.width}px`);
    this.card.classList.toggle("ecco-numbered", Boolean(field));
  }

  paint(name) {
    const { levels, meaning, ends } = this.fields.get(name);
    this.cells.forEach((cell, i) => {
      const level = typeof levels === "string" ? parseInt(levels[i], 36) : levels[i];
      const others = cell.className.replace(/ecco-[sc]\d+/, "").trim();
      cell.className = (level ? `ecco-${level > 0 ? "s" : "c"}${Math.abs(level)} ` : "") + others;
      cell.style.background = ""; // the shade for where style sheets are gone
    });
    const [says, low, , high] = this.card.querySelector(".ecco-legend").children;
    [says.textContent, low.textContent, high.textContent] = [`${meaning}: `, ...ends];
  }
}

// A pane fades at the side, or at the bottom, where it can be scrolled further.
function fadeWhereMore(pane) {
  const update = () => {
    const { scrollLeft, scrollTop, clientWidth, clientHeight, scrollWidth, scrollHeight } = pane;
    pane.classList.toggle("ecco-more-right", scrollLeft + clientWidth < scrollWidth - 2);
    pane.classList.toggle("ecco-more-below", scrollTop + clientHeight < scrollHeight - 2);
  };
  pane.addEventListener("scroll", update, { passive: true });
  new ResizeObserver(update).observe(pane);
}

function clamp(index, count) {
  return Math.min(Math.max(index, 0), count - 1);
}

// In a notebook the script can run before its view is attached, hence the patience.
function bootHeat(key, tries = 200) {
  const views = [...document.querySelectorAll(`.ecco[data-view="${key}"]`)];
  const fresh = views.filter((view) => !view.eccoDrawn);
  for (const view of fresh) {
    view.eccoDrawn = true;
    const data = JSON.parse(view.querySelector('script[type="application/json"]').textContent);
    new HeatMap(view.querySelector(".ecco-heat-map"), data);
  }
  if (!fresh.length && tries) setTimeout(bootHeat, 50, key, tries - 1);
}
