// Comparison: the same text twice, one selection for both, and how far the two agree on it.

export function mountBoth(host, data) {
  const agreement = new Agreement(data);
  const sides = make("div", "ecco-sides"), views = [];
  host.replaceChildren(agreement.node, sides);
  data.sides.forEach((side, k) => {
    const other = (action, value) => views[1 - k]?.[action](value);
    const place = make("div", "ecco-side");
    sides.append(place);
    views[k] = mount(place, { ...data, ...side }, {
      select: (t) => { other("select", t); agreement.show(t); },
      pin: (t) => other("pin", t),
      read: (position) => other("read", position),
      mark: (position) => other("mark", position),
      choose: (t) => agreement.announce(t),
    });
  });
  return views;
}

// The numbers of the chosen output above their means.
class Agreement {
  constructor(data) {
    this.data = data;
    this.rows = new Map((data.outputs ?? data.texts.slice(data.prompt)).map((t, k) =>
      [data.outputs ? t : k, k]));
    this.node = make("div", "ecco-agreement");
    this.name = make("bdi");
    this.quoted = make("span", "", "\u201c");
    this.quoted.append(this.name, "\u201d");
    this.values = data.agreement.map(() => make("td"));
    this.node.append(this.buildHint());
    if (data.agreement.length) this.node.append(this.buildTable());
    this.live = make("div", "ecco-hidden");
    this.live.setAttribute("aria-live", "polite");
    this.node.append(this.live);
  }

  buildHint() {
    const { words, sides } = this.data, signed = sides.some((side) => side.signed);
    const against = signed ? " Tokens that lowered the score are below 0, and teal." : "";
    const text = `Hover, tap or tab to a ${words.one} of either text: both show its sources.`;
    return make("p", "ecco-hint", text + against);
  }

  buildTable() {
    const { agreement, words } = this.data, count = this.rows.size;
    const table = make("table", "ecco-measures"), body = table.createTBody();
    const [top, chosen, mean] = [table.createTHead(), body, body].map((part) => part.insertRow());
    const over = `mean of ${count} ${count === 1 ? words.one : words.many}`;
    for (const [row, name] of [[top, "Agreement"], [chosen, this.quoted], [mean, over]]) {
      const head = make("th", "", name);
      head.scope = row === top ? "col" : "row";
      row.append(head);
    }
    chosen.className = "ecco-chosen";
    agreement.forEach((measure, k) => {
      const head = make("th", "", measure.name);
      head.scope = "col";
      top.append(head);
      chosen.append(this.values[k]);
      mean.append(make("td", "", measure.mean));
    });
    const pane = make("div", "ecco-measured");
    pane.append(table);
    return pane;
  }

  show(t) {
    this.name.textContent = this.name.title = nameOf(this.data.texts, this.data.prompt + t);
    this.data.agreement.forEach(({ values }, k) => {
      this.values[k].textContent = values[this.rows.get(t)];
    });
  }

  announce(t) {
    const at = this.rows.get(t);
    const parts = this.data.agreement.map(({ name, values }) => `${name} ${values[at]}`);
    this.live.textContent = parts.length ? `Agreement: ${parts.join(", ")}` : "";
  }
}
