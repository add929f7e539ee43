// Numbers: the scores of one output, which of them are strongest, and how a number is written.

// `data.scores` holds row after row: the scores of the prompt and, where a row grows with its
// output, of the outputs before it. Returns a row for each output that is explained.
export function rowsOf(data) {
  const rows = Array(data.texts.length - data.prompt);
  let start = 0;
  for (const t of data.outputs ?? rows.keys()) {
    const end = start + data.prompt + (data.grows ? t : 0);
    rows[t] = data.scores.subarray(start, end);
    start = end;
  }
  return rows;
}

// Sum and peak of the magnitudes, and where the peak is (-1 in a row without any score).
export function summarize(row) {
  let total = 0, peak = 0, top = -1;
  for (let i = 0; i < row.length; i++) {
    const size = Math.abs(row[i]);
    total += size;
    if (size > peak) { peak = size; top = i; }
  }
  return { total, peak, top };
}

// Positions of the n largest magnitudes, largest first; equal ones in the order of the text.
export function strongest(row, n) {
  if (n >= row.length) {
    const all = Uint32Array.from(row, (_, i) => i);
    return Array.from(all.sort((a, b) => Math.abs(row[b]) - Math.abs(row[a]) || a - b));
  }
  const best = [];
  for (let i = 0; i < row.length; i++) {
    const size = Math.abs(row[i]);
    if (best.length === n && size <= Math.abs(row[best[n - 1]])) continue;
    let k = best.length;
    while (k > 0 && Math.abs(row[best[k - 1]]) < size) k--;
    best.splice(k, 0, i);
    if (best.length > n) best.pop();
  }
  return best;
}

export function decodeScores(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Float32Array(bytes.buffer);
}

// The two forms below are those of core/text.py.
export function formatNumber(value) {
  const sign = value < 0 ? "\u2212" : "", size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.001 || size >= 999.5e9) {
    return sign + size.toExponential(1).replace("-", "\u2212").replace("+", "");
  }
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit * 0.9995) return sign + (size / unit).toPrecision(3) + letter;
  }
  return sign + size.toPrecision(3);
}

export function formatShare(share) {
  const sign = share < 0 ? "\u2212" : "", percent = 100 * Math.abs(share);
  if (percent === 0) return "0%";
  if (percent < 0.001) return "\u22480%";
  if (percent >= 99.95) return sign + "100%";
  const digits = percent >= 0.995 ? 1 : percent >= 0.0995 ? 2 : 3;
  return sign + percent.toFixed(digits) + "%";
}
