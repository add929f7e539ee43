// The view: prompt and output apart, and for the chosen output the share of every earlier token.
//
// An output is chosen by hover, by click (which pins it, so that hover no longer changes it; a
// second click or Escape unpins) and by the keyboard: Tab enters, arrows move.

const EASED = 600;
const HINT = "Hover, tap or tab to a generated token. ";

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
    this.summaries = Array.from({ length: this.count }, (_, t) => summarize(rowOf(data, t)));
    this.detail = new Detail(data, {
      pointAt: (position) => this.mark(position),
      goTo: (position) => this.scrollTo(position),
    });
    this.build();
  }

  build() {
    const { data } = this, length = data.texts.length;
    const prompt = buildStrip(data.texts, 0, data.prompt, "ecco-strip ecco-prompt");
    const output = buildStrip(data.texts, data.prompt, length, "ecco-strip ecco-output");
    this.outputs = output.spans;
    this.spans = [...prompt.spans, ...output.spans];
    this.painter = new Painter(this.spans, data.levels);
    this.panes = [prompt.strip, output.strip];
    this.describePrompt(prompt.strip);
    this.describeOutputs(output.strip);

    const text = make("div", "ecco-card ecco-text");
    text.append(
      divider("prompt", data.prompt), prompt.strip,
      divider("generated", this.count), output.strip, this.buildFoot(),
    );
    for (const strip of this.panes) this.listen(strip);
    const split = make("div", "ecco-split");
    split.append(text, this.detail.node);
    // Thousands of transitions at once would cost a second a hover.
    this.node = make("div", "ecco-live" + (length <= EASED ? " ecco-eased" : ""));
    this.node.append(this.buildHint(), split);
  }

  buildHint() {
    const name = make("bdi", "", this.name(this.data.prompt + this.data.first));
    const hint = make("p", "ecco-hint", HINT);
    hint.append("Shown first: \u201c", name, "\u201d, whose sources are the most concentrated.");
    return hint;
  }

  buildFoot() {
    this.low = make("span", "ecco-low");
    this.high = make("span", "ecco-high");
    const legend = make("div", "ecco-legend" + (this.data.signed ? " ecco-signed" : ""));
    const ramp = make("span", "ecco-ramp");
    legend.append(make("span", "", "share of the score"), this.low, ramp, this.high);
    this.readout = make("div", "ecco-readout");
    this.live = make("div", "ecco-hidden");
    this.live.setAttribute("aria-live", "polite");
    const foot = make("div", "ecco-foot");
    foot.append(legend, this.readout, this.live);
    return foot;
  }

  describePrompt(strip) {
    strip.setAttribute("role", "group");
    strip.setAttribute("aria-label", "Prompt");
  }

  describeOutputs(strip) {
    strip.setAttribute("role", "listbox");
    strip.setAttribute("aria-label", "Generated tokens");
    strip.setAttribute("aria-orientation", "horizontal");
    for (const chunk of strip.children) chunk.setAttribute("role", "none");
    this.outputs.forEach((span, t) => {
      span.setAttribute("role", "option");
      span.setAttribute("aria-selected", "false");
      span.setAttribute("aria-label", this.describe(t));
      span.tabIndex = -1;
    });
  }

  name(position) {
    return nameOf(this.data.texts, position);
  }

  shareOf(t, position) {
    const { total } = this.summaries[t];
    return formatShare(total > 0 ? rowOf(this.data, t)[position] / total : 0);
  }

  describe(t) {
    const { top } = this.summaries[t], name = `${this.name(this.data.prompt + t)}, output ${t}`;
    if (top < 0) return name + ", without any score";
    return `${name}, strongest source ${this.name(top)}, ${this.shareOf(t, top)}`;
  }

  listen(strip) {
    strip.addEventListener("pointerover", (event) => {
      const position = event.target.closest(".ecco-t")?.eccoPosition;
      if (position === undefined || event.pointerType === "touch") return;
      const t = position - this.data.prompt;
      if (t >= 0) this.events.hover?.(t);
      if (t >= 0 && this.pinned < 0) this.select(t);
      this.read(position);
    });
    strip.addEventListener("pointerleave", () => {
      this.events.hover?.(-1);
      this.read(-1);
    });
    strip.addEventListener("click", (event) => {
      const t = (event.target.closest(".ecco-t")?.eccoPosition ?? -1) - this.data.prompt;
      if (t >= 0) this.pin(this.pinned === t ? -1 : t);
    });
    strip.addEventListener("focusin", (event) => {
      const t = this.outputs.indexOf(event.target);
      if (t >= 0 && this.pinned < 0) this.choose(t);
    });
    strip.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const t = this.outputs.indexOf(event.target);
    if (t < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const last = this.count - 1, right = getComputedStyle(event.target).direction !== "rtl";
    const next = {
      ArrowRight: t + (right ? 1 : -1), ArrowLeft: t - (right ? 1 : -1), Home: 0, End: last,
      ArrowDown: this.lineFrom(t, 1), ArrowUp: this.lineFrom(t, -1),
    }[event.key];
    if (next !== undefined) this.focus(Math.max(0, Math.min(last, next)));
    else if (event.key === "Enter" || event.key === " ") this.pin(this.pinned === t ? -1 : t);
    else if (event.key === "Escape" && this.pinned >= 0) this.pin(-1);
    else return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has its own use for these keys
  }

  // The token of the next line (step 1) or the one before (-1) that is nearest across.
  lineFrom(t, step) {
    const from = this.outputs[t].getBoundingClientRect();
    let best = t, line = null, distance = Infinity;
    for (let k = t + step; k >= 0 && k < this.count; k += step) {
      const box = this.outputs[k].getBoundingClientRect();
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

  // By the keyboard: also read out, and told to whoever follows the pointer.
  choose(t) {
    this.select(t);
    this.events.hover?.(t);
    const top = strongest(rowOf(this.data, t), 3);
    const sources = top.map((i) => `${this.name(i)} ${this.shareOf(t, i)}`).join(", ");
    this.live.textContent = `${this.name(this.data.prompt + t)} came from ${sources || "nothing"}`;
  }

  pin(t) {
    this.pinned = t;
    this.node.classList.toggle("ecco-holds", t >= 0);
    if (t >= 0) this.select(t);
    this.read(-1);
  }

  select(t) {
    if (t === this.selected || t < 0 || t >= this.count) return;
    const row = rowOf(this.data, t), summary = this.summaries[t], before = this.outputs[this.selected];
    this.painter.show(row, summary.peak);
    before?.setAttribute("aria-selected", "false");
    if (before) before.tabIndex = -1;
    this.outputs[t].setAttribute("aria-selected", "true");
    this.outputs[t].tabIndex = 0;
    this.selected = t;
    const peak = summary.total > 0 ? summary.peak / summary.total : 0;
    this.low.textContent = formatShare(this.data.signed ? -peak : 0);
    this.high.textContent = formatShare(peak);
    this.detail.show(t, row, summary);
    this.read(-1);
    this.events.select?.(t);
  }

  // One line under the text: the token under the pointer, or what can be done.
  read(position) {
    const t = this.selected, known = position >= 0 && position < this.data.prompt + t;
    if (!known) {
      this.readout.textContent = this.pinned >= 0 ? "Pinned; Esc or click releases" : "Click to pin";
      return;
    }
    const score = formatNumber(rowOf(this.data, t)[position]);
    const name = make("bdi", "", this.name(position));
    const numbers = `\u201d gave ${this.shareOf(t, position)}, score ${score}`;
    this.readout.replaceChildren("\u201c", name, numbers);
  }

  mark(position) {
    this.marked?.removeAttribute("data-marked");
    this.marked = this.spans[position];
    this.marked?.setAttribute("data-marked", "");
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
  node.append(make("span", "", `${count.toLocaleString("en")} ${count === 1 ? "token" : "tokens"}`));
  return node;
}
