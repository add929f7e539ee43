// The token strip as a widget: it draws with the script of the static view, which arrives as text.

function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// How many scores there are.
function room({ texts, prompt, outputs, grows }) {
  const explained = outputs ?? Array.from({ length: texts.length - prompt }, (_, t) => t);
  return explained.reduce((sum, t) => sum + prompt + (grows ? t : 0), 0);
}

async function render({ model, el }) {
  const { mount } = await load(model.get("_script"));
  const send = sender(model);
  el.classList.add("ecco-widget");
  let view;
  const draw = () => {
    view?.destroy();
    const data = { ...model.get("_data") }, known = new Set();
    data.scores = data.later ? new Float32Array(room(data)) : floats(model.get("_scores"));
    const need = (t) => {
      if (!data.later || known.has(t)) return;
      known.add(t);
      model.send({ row: t, shown: model.get("_shown") });
    };
    el.innerHTML = model.get("_frame"); // escaped where it is made, in html.py
    view = mount(el.querySelector(".ecco-swap"), data, {
      select: (t) => { need(t); send("selected", t); },
      hover: (t) => send("hovered", t),
    }, model.get("selected"));
  };
  const fill = ({ row, shown }, buffers) => {
    if (shown === model.get("_shown")) view.fill(row, floats(buffers[0]));
  };
  const follow = () => view.select(model.get("selected"));
  const dress = () => el.classList.toggle("ecco-typed", Boolean(model.get("monospace")));
  dress();
  draw();
  model.on("change:_shown", draw);
  model.on("msg:custom", fill);
  model.on("change:selected", follow);
  model.on("change:monospace", dress);
  return () => {
    model.off("change:_shown", draw);
    model.off("msg:custom", fill);
    model.off("change:selected", follow);
    model.off("change:monospace", dress);
    view.destroy();
  };
}

export default { render };
