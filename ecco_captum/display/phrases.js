// Phrases: what is said of an output and of its sources, to the eye and to the ear.

export class Phrases {
  constructor(data) {
    this.data = data;
    this.rows = rowsOf(data);
    this.summaries = this.rows.map(summarize);
  }

  name(position) {
    return nameOf(this.data.texts, position);
  }

  shareOf(t, position) {
    const { total } = this.summaries[t];
    return formatShare(total > 0 ? this.rows[t][position] / total : 0);
  }

  // Where an output stands: in the text, or for a mask of it.
  place(t) {
    const { prompt, places, grows } = this.data;
    if (places[t] !== undefined) return `output ${t} \u00b7 mask at position ${places[t]}`;
    return `output ${t}` + (grows ? ` \u00b7 position ${prompt + t}` : "");
  }

  // The label of an output.
  describe(t) {
    const { top } = this.summaries[t], name = `${this.name(this.data.prompt + t)}, output ${t}`;
    if (top < 0) return name + (this.data.later ? "" : ", without any score");
    const side = this.rows[t][top] < 0 ? "strongest source, lowering the score," : "strongest source";
    return `${name}, ${side} ${this.name(top)}, ${this.shareOf(t, top)}`;
  }

  // What is read out when the keyboard chooses an output.
  announce(t) {
    const row = this.rows[t], top = strongest(row, 3).filter((i) => row[i] !== 0);
    const list = (some) => some.map((i) => `${this.name(i)} ${this.shareOf(t, i)}`).join(", ");
    const gave = top.filter((i) => row[i] > 0), against = top.filter((i) => row[i] < 0);
    const parts = [];
    if (gave.length || !top.length) parts.push(`came from ${list(gave) || "nothing"}`);
    if (against.length) parts.push(`lowered by ${list(against)}`);
    return `${this.name(this.data.prompt + t)} ${parts.join("; ")}`;
  }

  // The line under the text, about one source.
  describeSource(t, position) {
    const value = this.rows[t][position], score = formatNumber(value);
    const did = value < 0 ? "lowered the score:" : "gave";
    const name = make("bdi", "", this.name(position));
    return ["\u201c", name, `\u201d ${did} ${this.shareOf(t, position)}, score ${score}`];
  }
}
