// Detail: the sources of one output as a table, strongest first or in the order of the text.

const TOP = 10, ROW_HEIGHT = 26, SPARE = 10;
const COLUMNS = [
  ["token", "Token"], ["at", "Pos."], ["bar", ""], ["share", "Share"], ["score", "Score"],
];

export class Detail {
  constructor(data, longest, { pointAt, goTo }) {
    this.data = data;
    this.longest = longest; // the most rows that an output can have
    this.pointAt = pointAt;
    this.goTo = goTo;
    this.all = false;
    this.inOrder = false;
    this.build();
  }

  build() {
    this.title = make("h3", "ecco-of");
    this.place = make("span", "ecco-place");
    this.byShare = this.button("Strongest", () => this.sort(false));
    this.byOrder = this.button("In order", () => this.sort(true));
    const sorts = make("div", "ecco-sorts");
    sorts.setAttribute("role", "group");
    sorts.setAttribute("aria-label", "Order of the table");
    sorts.append(this.byShare, this.byOrder);
    const head = make("div", "ecco-head");
    head.append(this.place, sorts);

    this.pane = make("div", "ecco-pane");
    this.pane.style.setProperty("--ecco-rows", Math.min(TOP, this.longest));
    this.pane.addEventListener("scroll", () => this.draw());
    this.buildTable();
    this.more = this.button("", () => this.expand(!this.all));
    this.more.classList.add("ecco-more");
    this.more.hidden = this.longest <= TOP;
    this.node = make("div", "ecco-card ecco-detail");
    this.node.append(this.title, head, this.pane, this.more);
    if (this.data.unit) this.node.append(make("p", "ecco-unit", "Score: " + this.data.unit));
  }

  // Rows of one height: only those in sight exist, between two spacers.
  buildTable() {
    this.table = make("table", "ecco-sources" + (this.data.signed ? " ecco-signed" : ""));
    const digits = String(this.data.texts.length).length;
    this.table.style.setProperty("--ecco-digits", Math.max(3, digits));
    const head = this.table.createTHead().insertRow();
    for (const [name, text] of COLUMNS) {
      const cell = make(text ? "th" : "td", "ecco-" + name, text);
      if (text) cell.scope = "col";
      head.append(cell);
    }
    head.children[1].title = "Position: column of the scores, from 0";
    head.children[3].title = "The score over the sum of all magnitudes";
    this.body = this.table.createTBody();
    this.above = this.body.insertRow();
    this.below = this.body.insertRow();
    for (const spacer of [this.above, this.below]) spacer.setAttribute("aria-hidden", "true");
    this.pane.append(this.table);
    this.rows = [];
    this.table.addEventListener("pointerover", (event) => this.pointAt(rowAt(event)));
    this.table.addEventListener("pointerleave", () => this.pointAt(-1));
    this.table.addEventListener("click", (event) => this.goTo(rowAt(event)));
  }

  button(text, action) {
    const node = make("button", "ecco-button", text);
    node.type = "button";
    node.addEventListener("click", action);
    return node;
  }

  show(t, row, phrases) {
    const { data } = this;
    this.row = row;
    this.summary = phrases.summaries[t];
    const { peak, total } = this.summary;
    this.longestBar = Math.max(peak, (data.tops?.[t] ?? 0) * total); // one scale for several views
    const name = make("bdi", "", nameOf(data.texts, data.prompt + t));
    this.title.replaceChildren("Sources of \u201c", name, "\u201d");
    if (data.label) this.title.append(make("span", "ecco-of-side", ` \u00b7 ${data.label}`));
    this.place.textContent = this.place.title = phrases.place(t);
    this.arrange();
  }

  sort(inOrder) {
    this.inOrder = inOrder;
    this.pane.scrollTop = 0;
    this.arrange();
  }

  expand(all) {
    this.all = all;
    this.pane.scrollTop = 0;
    this.arrange();
  }

  arrange() {
    const { row } = this, count = this.all ? row.length : Math.min(TOP, row.length);
    if (this.all && this.inOrder) this.order = null;
    else this.order = strongest(row, count);
    if (!this.all && this.inOrder) this.order.sort((a, b) => a - b);
    this.count = count;
    this.byShare.setAttribute("aria-pressed", String(!this.inOrder));
    this.byOrder.setAttribute("aria-pressed", String(this.inOrder));
    this.more.textContent = this.all ? `Show the top ${TOP}` : `Show all ${row.length}`;
    this.more.disabled = row.length <= TOP;
    this.pane.classList.toggle("ecco-all", this.all);
    if (this.all) this.pane.tabIndex = 0;
    else this.pane.removeAttribute("tabindex");
    this.table.setAttribute("aria-rowcount", String(count + 1));
    this.draw();
  }

  draw(everything = false) {
    const inPane = Math.ceil(this.pane.clientHeight / ROW_HEIGHT) + 2 * SPARE;
    const first = Math.max(0, Math.floor(this.pane.scrollTop / ROW_HEIGHT) - SPARE);
    const start = everything || !this.all ? 0 : Math.min(first, Math.max(0, this.count - inPane));
    const end = everything ? this.count : Math.min(this.count, start + Math.max(inPane, TOP));
    while (this.rows.length < end - start) this.rows.push(this.newRow());
    this.rows.forEach((node, k) => {
      node.hidden = start + k >= end;
      if (!node.hidden) this.fill(node, start + k);
    });
    setHeight(this.above, start * ROW_HEIGHT);
    setHeight(this.below, (this.count - end) * ROW_HEIGHT);
  }

  newRow() {
    const node = make("tr", "ecco-row");
    for (const [name] of COLUMNS) node.append(make(name === "token" ? "th" : "td", "ecco-" + name));
    const [token, , bar] = node.children;
    token.scope = "row";
    token.append(make("bdi"));
    bar.append(make("div", "ecco-length"));
    bar.setAttribute("aria-hidden", "true");
    this.body.insertBefore(node, this.below);
    return node;
  }

  fill(node, k) {
    const position = this.order ? this.order[k] : k;
    const score = this.row[position], { total } = this.summary, peak = this.longestBar;
    const [token, at, bar, share, number] = node.children;
    const name = nameOf(this.data.texts, position);
    node.eccoPosition = position;
    node.setAttribute("aria-rowindex", String(k + 2));
    token.firstChild.textContent = token.title = name;
    at.textContent = position;
    bar.firstChild.style.width = (peak > 0 ? (100 * Math.abs(score)) / peak : 0) + "%";
    bar.firstChild.classList.toggle("ecco-below", score < 0);
    share.textContent = formatShare(total > 0 ? score / total : 0);
    number.textContent = formatNumber(score);
    number.title = String(score);
  }
}

function rowAt(event) {
  return event.target.closest(".ecco-row")?.eccoPosition ?? -1;
}

function setHeight(row, height) {
  row.hidden = height <= 0;
  row.style.height = height + "px";
}
