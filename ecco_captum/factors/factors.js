// Factors: a line for each factor, and the text, shaded by the factor that is shown.
//
// A factor is taken by hover, by the keyboard (Tab enters, arrows move) and by click, which holds
// it, so that hover no longer changes it; a second click or Escape releases. A token names its
// strongest factors, and leads to the strongest of them. The last one stays.

const SVG = "http://www.w3.org/2000/svg", WIDE = 240, HIGH = 24, EASED = 600, NAMED = 3;
const LONGEST = 40;
const LANES = ["accent", "cool", "ink"]; // colours of factors that are shown together
const HINT = "Hover or tap a token for its strongest factors; click for the strongest of them.";

export function mountFactors(host, data, events = {}) {
  const view = new FactorsView(data, events);
  host.replaceChildren(view.node);
  view.select(data.order[0]);
  return view;
}

class FactorsView {
  constructor(data, events) {
    const length = data.texts.length;
    this.data = data;
    this.events = events;
    this.length = length;
    this.rows = data.tops.map((_, k) => data.scores.subarray(k * length, (k + 1) * length));
    this.peaks = this.rows.map((row) => summarize(row).peak);
    this.selected = this.held = this.pointed = -1;
    this.build();
    this.listenToList();
    this.listenToText();
  }

  build() {
    const split = make("div", "ecco-split");
    split.append(this.buildList(), this.buildText());
    this.node = make("div", "ecco-factors" + (this.length <= EASED ? " ecco-eased" : ""));
    const columns = `58px ${this.data.stability ? "52px" : ""} `;
    this.node.style.setProperty("--ecco-columns", columns);
    this.node.append(make("p", "ecco-hint", "Hover, tap or tab to a factor; click to pin it."), split);
  }

  buildList() {
    const { stability } = this.data;
    this.list = make("div", "");
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Factors");
    this.options = this.rows.map((_, k) => this.buildOption(k));
    this.list.append(...this.data.order.map((k) => this.options[k]));
    const head = make("div", "ecco-factor ecco-factors-head");
    head.setAttribute("aria-hidden", "true"); // each row says all of it
    head.append(make("span", "", "No."));
    head.append(make("span", "", "Weight at each token, scaled to the factor\u2019s own maximum"));
    head.append(make("span", "", "Explained"));
    if (stability) head.append(make("span", "", "Stability"));
    this.pane = make("div", "ecco-factors-list");
    this.pane.append(head, this.list);
    const card = make("div", "ecco-card");
    card.append(this.pane);
    return card;
  }

  buildOption(k) {
    const { explained, stability, tops } = this.data, option = make("div", "ecco-factor");
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.setAttribute("aria-label", this.describe(k));
    option.tabIndex = -1;
    option.eccoFactor = k;
    const line = make("span", "ecco-factor-line", this.drawLine(k));
    option.append(make("b", "", String(k)), line);
    option.append(make("span", "ecco-factor-number", explained[k]));
    if (stability) option.append(make("span", "ecco-factor-number", stability[k]));
    const names = make("span", "ecco-factor-tops");
    for (const position of tops[k]) {
      const name = make("bdi", "", this.name(position));
      name.eccoPosition = position;
      name.title = `${nameOf(this.data.texts, position)}, ${this.place(position)}`;
      names.append(name, " ");
    }
    if (this.data.sinks.includes(k)) names.prepend(make("i", "", "attention sink: "));
    names.title = names.textContent.trim(); // the line may be cut
    if (!tops[k].length) names.append("without weight");
    option.append(names);
    return option;
  }

  // Steps as high as the weights; of a long text, each step is the largest weight of some tokens.
  drawLine(k) {
    const row = this.rows[k], steps = Math.min(row.length, WIDE), peak = this.peaks[k] || 1;
    let path = `M0 ${HIGH}`;
    for (let s = 0; s < steps; s++) {
      const from = Math.floor(s * row.length / steps), to = Math.floor((s + 1) * row.length / steps);
      const { peak: most } = summarize(row.subarray(from, to));
      path += `V${round(HIGH - (HIGH - 1) * most / peak)}H${round((s + 1) * WIDE / steps)}`;
    }
    const line = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none" });
    line.setAttribute("aria-hidden", "true");
    line.append(drawn("path", { d: `${path}V${HIGH}Z` }));
    for (const start of this.data.starts.slice(1)) {
      const x = round(start * WIDE / row.length);
      line.append(drawn("line", { x1: x, x2: x, y1: 0, y2: HIGH }));
    }
    return line;
  }

  buildText() {
    const { texts, sections } = this.data;
    this.text = make("div", "ecco-factors-text");
    this.text.tabIndex = 0;
    this.text.setAttribute("role", "group");
    this.text.setAttribute("aria-label", "Text; left and right arrow read its tokens");
    this.spans = sections.flatMap(([name, start], k) => {
      const end = sections[k + 1]?.[1] ?? this.length;
      const { strip, spans } = buildStrip(texts, start, end, "ecco-strip");
      if (name) this.text.append(make("div", "ecco-divider", name));
      this.text.append(strip);
      return spans;
    });
    this.painter = new Painter(this.spans, this.data.levels);
    const card = make("div", "ecco-card");
    card.append(this.text);
    if (this.rows.length > 1) card.append(this.buildTogether());
    card.append(this.buildFoot());
    return card;
  }

  // Factors that are shown together with the shade, each as a line of its own under the tokens.
  buildTogether() {
    this.lanes = LANES.map(() => -1);
    const group = make("div", "ecco-factors-together", make("span", "", "Underline by factor"));
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `Underline by factor, ${LANES.length} at most`);
    this.chips = this.rows.map((_, k) => {
      const chip = make("button", "ecco-button", String(k));
      chip.type = "button";
      chip.title = this.describe(k);
      chip.setAttribute("aria-pressed", "false");
      chip.setAttribute("aria-label", `factor ${k}`);
      chip.addEventListener("click", () => this.underline(k));
      return chip;
    });
    group.append(...this.chips);
    return group;
  }

  // Takes a factor in, or out; a further one takes the place of the first.
  underline(k) {
    const at = this.lanes.indexOf(k), free = this.lanes.indexOf(-1);
    if (at >= 0) this.lanes[at] = -1;
    else if (free >= 0) this.lanes[free] = k;
    else this.lanes = [...this.lanes.slice(1), k];
    this.chips.forEach((chip, c) => {
      const lane = this.lanes.indexOf(c);
      chip.setAttribute("aria-pressed", String(lane >= 0));
      chip.style.setProperty("--ecco-lane", lane >= 0 ? `var(--ecco-${LANES[lane]})` : "transparent");
    });
    this.text.classList.toggle("ecco-underlined", this.lanes.some((c) => c >= 0));
    this.spans.forEach((span, i) => {
      span.style.backgroundImage = this.lanes.map((c, lane) => this.lineOf(c, lane, i)).join(",");
    });
  }

  // One factor's line under a token: as opaque as its weight is high.
  lineOf(k, lane, position) {
    const part = k < 0 ? 0 : this.rows[k][position] / (this.peaks[k] || 1);
    const color = `color-mix(in srgb,var(--ecco-${LANES[lane]}) ${Math.round(100 * part)}%,transparent)`;
    return `linear-gradient(${color},${color})`;
  }

  buildFoot() {
    this.says = make("span", "");
    this.high = make("span", "");
    const legend = make("div", "ecco-legend");
    legend.append(this.says, make("span", "", "0"), make("span", "ecco-ramp"), this.high);
    this.readout = make("div", "ecco-factors-readout", HINT);
    this.live = make("div", "ecco-hidden");
    this.live.setAttribute("aria-live", "polite");
    const foot = make("div", "ecco-factors-foot");
    foot.append(legend, this.readout, this.live);
    return foot;
  }

  name(position) {
    const name = nameOf(this.data.texts, position);
    return name.length > LONGEST ? name.slice(0, LONGEST) + "\u2026" : name;
  }

  place(position) {
    const { starts } = this.data;
    const text = starts.findLastIndex((start) => start <= position);
    return `position ${position}` + (starts.length > 1 ? `, text ${text}` : "");
  }

  // The label of a factor.
  describe(k) {
    const { explained, stability, tops } = this.data;
    const names = tops[k].slice(0, NAMED).map((position) => this.name(position));
    const parts = [`factor ${k}`];
    if (this.data.sinks.includes(k)) parts.push("an attention sink");
    parts.push(`explains ${explained[k]}`);
    if (stability) parts.push(`stability ${stability[k]}`);
    parts.push(names.length ? `strongest at ${names.join(", ")}` : "without weight");
    return parts.join(", ");
  }

  // Factors that have a weight at a token, strongest first.
  factorsAt(position) {
    const weights = Float32Array.from(this.rows, (row) => row[position]);
    return strongest(weights, NAMED).filter((k) => weights[k] > 0);
  }

  listenToList() {
    const { list } = this, factorOf = (event) => event.target.closest("[role=option]")?.eccoFactor;
    list.addEventListener("pointerover", (event) => {
      const k = factorOf(event);
      if (k !== undefined && event.pointerType !== "touch" && this.held < 0) this.select(k);
    });
    list.addEventListener("focusin", (event) => {
      if (this.held < 0) this.select(factorOf(event));
    });
    list.addEventListener("click", (event) => {
      const k = factorOf(event);
      if (k === undefined) return;
      this.hold(this.held === k ? -1 : k);
      this.reveal(event.target.eccoPosition ?? this.data.tops[k][0]);
    });
    list.addEventListener("keydown", (event) => this.press(event, factorOf(event)));
  }

  press(event, k) {
    if (k === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const { order } = this.data, last = order.length - 1, at = order.indexOf(k);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
    if (next !== undefined) this.focus(order[Math.max(0, Math.min(last, next))]);
    else if (event.key === "Enter" || event.key === " ") this.hold(this.held === k ? -1 : k);
    else if (event.key === "Escape" && this.held >= 0) this.hold(-1);
    else return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has its own use for these keys
  }

  focus(k) {
    if (this.held >= 0) this.hold(k);
    this.select(k);
    this.options[k].focus();
    this.reveal(this.data.tops[k][0]);
  }

  hold(k) {
    this.held = k;
    this.node.classList.toggle("ecco-holds", k >= 0);
    if (k >= 0) this.select(k);
  }

  select(k) {
    if (k === this.selected) return;
    const before = this.options[this.selected], option = this.options[k];
    before?.setAttribute("aria-selected", "false");
    if (before) before.tabIndex = -1;
    option.setAttribute("aria-selected", "true");
    option.tabIndex = 0;
    this.selected = k;
    this.events.choose?.([k]);
    this.painter.show(this.rows[k], this.peaks[k]);
    // As wide as the last one's: the ramp beside it stays where it is.
    const number = String(k).padStart(String(this.rows.length - 1).length, "\u2007");
    this.says.textContent = `weight of factor ${number}`;
    this.high.textContent = formatNumber(this.peaks[k]);
  }

  listenToText() {
    const positionOf = (event) => event.target.closest(".ecco-t")?.eccoPosition;
    this.text.addEventListener("pointerover", (event) => this.read(positionOf(event)));
    this.text.addEventListener("click", (event) => {
      this.read(positionOf(event));
      this.follow(positionOf(event));
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) this.step(step);
      else if (event.key === "Enter" && this.pointed >= 0) this.follow(this.pointed);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  chooseAt([k]) { if (k < this.rows.length) this.select(k); }

  step(step) {
    const next = this.pointed < 0 ? 0 : this.pointed + step;
    this.read(Math.max(0, Math.min(this.length - 1, next)));
    this.reveal(this.pointed);
    this.live.textContent = this.readout.textContent;
  }

  // To the strongest factor of a token.
  follow(position) {
    const [k] = position === undefined ? [] : this.factorsAt(position);
    if (k === undefined) return;
    if (this.held >= 0) this.hold(k);
    this.select(k);
    within(this.pane, this.options[k], this.pane.firstChild.offsetHeight);
  }

  // Of a token: where it stands, and its strongest factors; and its place in each line.
  read(position) {
    if (position === undefined || position === this.pointed) return;
    this.spans[this.pointed]?.removeAttribute("data-marked");
    this.spans[position].setAttribute("data-marked", "");
    this.pointed = position;
    this.events.hover?.([position]);
    const name = make("bdi", "", this.name(position));
    this.readout.replaceChildren("\u201c", name, `\u201d, ${this.place(position)} \u00b7 `);
    this.readout.append(...this.weightsAt(position));
    this.list.classList.add("ecco-factors-read");
    this.list.style.setProperty("--ecco-at", (position + 0.5) / this.length);
  }

  weightsAt(position) {
    const factors = this.factorsAt(position);
    if (!factors.length) return ["no factor has a weight here"];
    return factors.flatMap((k, i) => {
      const weight = `factor ${k}: ${formatNumber(this.rows[k][position])}`;
      return [i ? ", " : "", make("span", "ecco-factor-weight", weight)];
    });
  }

  reveal(position) {
    if (position !== undefined) within(this.text, this.spans[position], 0);
  }
}

// Scrolls a pane, never the page, until a part of it is in view below what covers its top.
function within(pane, part, covered) {
  const box = part.getBoundingClientRect(), frame = pane.getBoundingClientRect();
  const above = box.top - frame.top - covered, below = box.bottom - frame.bottom;
  if (above < 0 || below > 0) pane.scrollTop += above < 0 ? above : below;
}

function drawn(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

const round = (value) => Math.round(value * 100) / 100;
