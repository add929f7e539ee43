// What every view as a widget needs: its script, which arrives as text, and a way to reach Python.

const scripts = new Map();

function load(source) {
  if (!scripts.has(source)) {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    scripts.set(source, import(url).finally(() => URL.revokeObjectURL(url)));
  }
  return scripts.get(source);
}

// Sends to Python at most once a frame: a pointer that sweeps over a line sends one message, not ten.
function sender(model) {
  let asked = 0;
  return (name, value) => {
    if (String(model.get(name)) === String(value)) return;
    model.set(name, value);
    asked ||= requestAnimationFrame(() => { asked = 0; model.save_changes(); });
  };
}
