// The view: prompt and output apart, and for the chosen output the share of every earlier token.
//
// An output is chosen by hover, by click (which pins it, so that hover no longer changes it; a
// second click or Escape unpins) and by the keyboard: Tab enters, arrows move. Outputs that are not
// explained are part of the text, no more.

const EASED = 600;

export function mount(host, data, events = {}, selected = data.first) {
  const view = new SaliencyView(data, events);
  host.replaceChildren(view.node);
  view.start(selected);
  return view;
}

class SaliencyView {
  constructor(data, events) {
    this.data = data;
    this.events = events;
    this.selected = this.pinned = -1;
    this.count = data.texts.length - data.prompt;
    this.phrases = new Phrases(data);
    this.rows = this.phrases.rows;
    this.targets = [...this.rows.keys()].filter((t) => this.rows[t]);
    const longest = Math.max(...this.targets.map((t) => this.rows[t].length));
    this.detail = new Detail(data, longest, {
      pointAt: (position) => { this.mark(position); this.events.mark?.(position); },
      goTo: (position) => this.scrollTo(position),
    });
    this.build();
  }

  build() {
    const { data } = this, { words } = data, length = data.texts.length;
    const prompt = buildStrip(data.texts, 0, data.prompt, "ecco-strip ecco-prompt", data.starts);
    const output = buildStrip(data.texts, data.prompt, length, "ecco-strip ecco-output");
    this.outputs = output.spans;
    this.spans = [...prompt.spans, ...output.spans];
    this.painter = new Painter(this.spans, data.levels);
    this.panes = [prompt.strip, output.strip];
    if (!data.grows) this.setApart(output.strip);
    this.describePrompt(prompt.strip);
    this.describeOutputs(output.strip);

    const text = make("div", "ecco-card ecco-text");
    if (data.label) text.append(make("h3", "ecco-side-name", data.label));
    text.append(
      divider(words.source, tokens(data.prompt)), prompt.strip,
      divider(words.target, this.countOutputs()), output.strip, this.buildFoot(),
    );
    for (const strip of this.panes) this.listen(strip);
    const split = make("div", "ecco-split");
    split.append(text, this.detail.node);
    // Thousands of transitions at once would cost a second a hover.
    this.node = make("div", "ecco-live" + (length <= EASED ? " ecco-eased" : ""));
    if (!data.label) this.node.append(this.buildHint());
    this.node.append(split);
  }

  // Predictions and classes are no running text.
  setApart(strip) {
    strip.classList.add("ecco-apart");
    for (const span of this.outputs) span.after(" ");
  }

  countOutputs() {
    if (this.data.words.one === "class") return "";
    const some = this.targets.length < this.count ? `, ${this.targets.length} explained` : "";
    return tokens(this.count) + some;
  }

  buildHint() {
    const { words, prompt, first, signed } = this.data, one = this.targets.length === 1;
    const name = make("bdi", "", this.phrases.name(prompt + first));
    const hint = make("p", "ecco-hint");
    if (!one) {
      hint.append(`Hover, tap or tab to a ${words.one}. Shown first: \u201c`, name);
      hint.append("\u201d, whose sources are the most concentrated. ");
    } else hint.append("Shown: \u201c", name, "\u201d and its sources. ");
    if (signed) hint.append("Tokens that lowered the score are below 0, and teal.");
    return hint;
  }

  buildFoot() {
    this.low = make("span", "ecco-low");
    this.high = make("span", "ecco-high");
    const legend = make("div", "ecco-legend" + (this.data.signed ? " ecco-signed" : ""));
    const ramp = make("span", "ecco-ramp");
    const [under, over] = this.data.signed ? ["against", "for"] : ["share of the score", ""];
    legend.append(make("span", "", under), this.low, ramp, this.high);
    if (over) legend.append(make("span", "", over));
    this.readout = make("div", "ecco-readout");
    this.live = make("div", "ecco-hidden");
    this.live.setAttribute("aria-live", "polite");
    const foot = make("div", "ecco-foot");
    foot.append(legend, this.readout, this.live);
    return foot;
  }

  describePrompt(strip) {
    strip.setAttribute("role", "group");
    strip.setAttribute("aria-label", this.labelled(this.data.words.source));
  }

  describeOutputs(strip) {
    strip.setAttribute("role", "listbox");
    strip.setAttribute("aria-label", this.labelled(this.data.words.many));
    strip.setAttribute("aria-orientation", "horizontal");
    strip.classList.toggle("ecco-some", this.targets.length < this.count);
    for (const chunk of strip.children) chunk.setAttribute("role", "none");
    for (const t of this.targets) {
      const span = this.outputs[t];
      span.setAttribute("role", "option");
      span.setAttribute("aria-selected", "false");
      span.setAttribute("aria-label", this.phrases.describe(t));
      span.tabIndex = -1;
    }
  }

  labelled(what) {
    const { label } = this.data;
    return what[0].toUpperCase() + what.slice(1) + (label ? ", " + label : "");
  }

  // The output that an event is about, or -1 if it cannot be asked.
  targetOf(event) {
    const t = (event.target.closest(".ecco-t")?.eccoPosition ?? -1) - this.data.prompt;
    return this.rows[t] ? t : -1;
  }

  listen(strip) {
    strip.addEventListener("pointerover", (event) => {
      const position = event.target.closest(".ecco-t")?.eccoPosition;
      if (position === undefined || event.pointerType === "touch") return;
      const t = this.targetOf(event);
      if (t >= 0) this.events.hover?.(t);
      if (t >= 0 && this.pinned < 0) this.select(t);
      this.read(position);
      this.events.read?.(position);
    });
    strip.addEventListener("pointerleave", () => {
      this.events.hover?.(-1);
      this.read(-1);
      this.events.read?.(-1);
    });
    strip.addEventListener("click", (event) => {
      const t = this.targetOf(event);
      if (t >= 0) this.pin(this.pinned === t ? -1 : t);
    });
    strip.addEventListener("focusin", (event) => {
      const t = this.targetOf(event);
      if (t >= 0 && this.pinned < 0) this.choose(t);
    });
    strip.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const t = this.targetOf(event);
    if (t < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const at = this.targets.indexOf(t), last = this.targets.length - 1;
    const step = getComputedStyle(event.target).direction === "rtl" ? -1 : 1;
    const next = {
      ArrowRight: at + step, ArrowLeft: at - step, Home: 0, End: last,
      ArrowDown: this.lineFrom(at, 1), ArrowUp: this.lineFrom(at, -1),
    }[event.key];
    if (next !== undefined) this.focus(this.targets[Math.max(0, Math.min(last, next))]);
    else if (event.key === "Enter" || event.key === " ") this.pin(this.pinned === t ? -1 : t);
    else if (event.key === "Escape" && this.pinned >= 0) this.pin(-1);
    else return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has its own use for these keys
  }

  // The target of the next line (step 1) or the one before (-1) that is nearest across.
  lineFrom(at, step) {
    const from = this.outputs[this.targets[at]].getBoundingClientRect();
    let best = at, line = null, distance = Infinity;
    for (let k = at + step; k >= 0 && k < this.targets.length; k += step) {
      const box = this.outputs[this.targets[k]].getBoundingClientRect();
      if (Math.abs(box.top - from.top) < from.height / 2) continue;
      if (line !== null && Math.abs(box.top - line) >= box.height / 2) break;
      line = box.top;
      const across = Math.abs(box.left + box.right - from.left - from.right);
      if (across < distance) { distance = across; best = k; }
    }
    return best;
  }

  focus(t) {
    if (this.pinned >= 0) this.pin(t);
    this.choose(t);
    this.outputs[t].focus();
  }

  // By the keyboard: also read out, and passed on as the pointer would be.
  choose(t) {
    this.select(t);
    this.events.hover?.(t);
    this.live.textContent = this.phrases.announce(t);
    this.events.choose?.(t);
  }

  pin(t) {
    if (t === this.pinned) return;
    this.pinned = t;
    this.node.classList.toggle("ecco-holds", t >= 0);
    if (t >= 0) this.select(t);
    this.read(-1);
    this.events.pin?.(t);
  }

  select(t) {
    const row = this.rows[t], summary = this.phrases.summaries[t];
    if (t === this.selected || !row) return;
    const before = this.outputs[this.selected];
    // Views side by side have one scale: the larger of their top shares.
    const own = summary.total > 0 ? summary.peak / summary.total : 0;
    const peak = Math.max(own, this.data.tops?.[t] ?? 0);
    this.painter.show(row, peak * summary.total);
    before?.setAttribute("aria-selected", "false");
    if (before) before.tabIndex = -1;
    this.outputs[t].setAttribute("aria-selected", "true");
    this.outputs[t].tabIndex = 0;
    this.selected = t;
    this.point("place", this.data.places[t]);
    this.low.textContent = formatShare(this.data.signed ? -peak : 0);
    this.high.textContent = formatShare(peak);
    this.detail.show(t, row, this.phrases);
    this.read(-1);
    this.events.select?.(t);
  }

  // The scores of an output, of which a long text learns when they are asked for.
  fill(t, scores) {
    this.rows[t].set(scores);
    this.phrases.summaries[t] = summarize(this.rows[t]);
    this.outputs[t].setAttribute("aria-label", this.phrases.describe(t));
    if (t !== this.selected) return;
    this.selected = -1;
    this.select(t);
  }

  // One line under the text: the token under the pointer, or what can be done.
  read(position) {
    const known = position >= 0 && position < this.rows[this.selected].length;
    const rest = this.pinned >= 0 ? "Pinned; Esc or click releases" : "Click to pin";
    const parts = known ? this.phrases.describeSource(this.selected, position) : [rest];
    this.readout.replaceChildren(...parts);
  }

  mark(position) {
    this.point("marked", position);
  }

  // One token of the text at most carries this name.
  point(name, position) {
    this.pointed ??= {};
    this.pointed[name]?.removeAttribute("data-" + name);
    this.pointed[name] = this.spans[position];
    this.pointed[name]?.setAttribute("data-" + name, "");
  }

  scrollTo(position) {
    this.spans[position]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  start(selected) {
    // A pane that scrolls must be reachable by keyboard; the outputs are, by their tokens.
    const prompt = this.panes[0];
    this.watch = new ResizeObserver(() => {
      if (prompt.scrollHeight > prompt.clientHeight + 1) prompt.tabIndex = 0;
      else prompt.removeAttribute("tabindex");
    });
    this.watch.observe(prompt);
    this.beforePrint = () => (this.node.isConnected ? this.detail.draw(true) : this.destroy());
    addEventListener("beforeprint", this.beforePrint);
    this.select(selected);
  }

  destroy() {
    clearTimeout(this.painter.timer);
    this.watch.disconnect();
    removeEventListener("beforeprint", this.beforePrint);
  }
}

function divider(text, count) {
  const node = make("div", "ecco-divider", text);
  if (count) node.append(make("span", "", count));
  return node;
}

function tokens(count) {
  return `${count.toLocaleString("en")} ${count === 1 ? "token" : "tokens"}`;
}
