// Tokens: the text as a paragraph, and the shade of each token.

const CHUNK = 256, REST = 120, MARGIN = 200;

export function make(tag, className, content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content !== undefined) node.append(content);
  return node;
}

// The token on one line, for labels. A token that only continues a character leads with a "⋯".
export function nameOf(texts, i) {
  let start = i;
  while (start > 0 && texts[start] === "") start--;
  const text = texts[start];
  const line = typeof text === "string"
    ? text.replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5")
    : text.join("").replaceAll("\n", "");
  return (start < i || !line ? "\u22ef" : "") + line.replace(/^ +| +$/g, "");
}

// Blanks around a word stay outside of its span: a shade that hugs the word wraps with it.
function appendToken(parent, text, className) {
  const span = make("span", className);
  const parts = typeof text === "string" ? [text] : text.slice();
  let before = "", after = "";
  if (parts[0].trim()) [before, parts[0]] = split(parts[0], /^\s+/);
  const last = parts.length - 1;
  if (last % 2 === 0) [after, parts[last]] = split(parts[last], /\n+$/);
  parts.forEach((part, k) => {
    if (part) span.append(k % 2 ? make("span", "ecco-m", part) : part);
  });
  parent.append(...[before, span, after].filter(Boolean));
  return span;
}

function split(text, pattern) {
  const matched = text.match(pattern)?.[0] ?? "";
  return [matched, text.replace(pattern, "")];
}

// One strip of tokens from position `start` to `end`: its element, spans and chunks of spans.
// Further texts, as the second of a pair, start on a line of their own, at `starts`.
export function buildStrip(texts, start, end, className, starts = []) {
  const strip = make("div", className), spans = [];
  for (let from = start; from < end; from += CHUNK) {
    const chunk = make("span");
    for (let i = from; i < Math.min(end, from + CHUNK); i++) {
      if (starts.includes(i)) chunk.append(make("br"));
      const span = appendToken(chunk, texts[i], "ecco-t");
      span.eccoPosition = i;
      spans.push(span);
    }
    strip.append(chunk);
  }
  return { strip, spans };
}

// Paints shares as classes of the ramp. Only tokens whose level changes are touched. What can be
// seen is painted at once and the rest when the pointer rests, so that a long text costs no more to
// hover than a short one.
export class Painter {
  constructor(spans, levels) {
    this.spans = spans;
    this.levels = levels;
    this.painted = new Int8Array(spans.length);
    this.chunks = [];
    for (let i = 0; i < spans.length; i++) {
      const chunk = spans[i].parentNode, open = this.chunks.at(-1);
      if (open?.node === chunk) open.end = i + 1;
      else this.chunks.push({ node: chunk, start: i, end: i + 1 });
    }
  }

  show(row, peak) {
    clearTimeout(this.timer);
    const scale = peak > 0 ? this.levels / peak : 0;
    const waiting = [], seen = [];
    for (const chunk of this.chunks) (inSight(chunk.node) ? seen : waiting).push(chunk);
    for (const chunk of seen) this.paint(chunk, row, scale);
    this.later(waiting, row, scale, REST);
  }

  later(chunks, row, scale, delay) {
    if (!chunks.length) return;
    this.timer = setTimeout(() => {
      for (const chunk of chunks.splice(0, 4)) this.paint(chunk, row, scale);
      this.later(chunks, row, scale, 0);
    }, delay);
  }

  paint({ start, end }, row, scale) {
    for (let i = start; i < end; i++) {
      const level = i < row.length ? Math.round(row[i] * scale) : 0;
      if (level === this.painted[i]) continue;
      this.painted[i] = level;
      const shade = level > 0 ? " ecco-s" + level : level < 0 ? " ecco-c" + -level : "";
      this.spans[i].className = "ecco-t" + shade;
    }
  }
}

function inSight(node) {
  const box = node.getBoundingClientRect(), pane = node.parentNode.getBoundingClientRect();
  const top = Math.max(0, pane.top), bottom = Math.min(innerHeight, pane.bottom);
  return box.bottom >= top - MARGIN && box.top <= bottom + MARGIN;
}
