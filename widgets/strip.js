// The token strip as a widget: it draws with the script of the static view, which arrives as text.

function floats(view) {
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

async function render({ model, el }) {
  const { mount } = await load(model.get("_script"));
  const tell = teller(model);
  el.classList.add("ecco-widget");
  let view;
  const draw = () => {
    view?.destroy();
    const data = { ...model.get("_data"), scores: floats(model.get("_scores")) };
    el.innerHTML = model.get("_frame"); // escaped where it is made, in html.py
    view = mount(el.querySelector(".ecco-swap"), data, {
      select: (t) => tell("selected", t),
      hover: (t) => tell("hovered", t),
    }, model.get("selected"));
  };
  const follow = () => view.select(model.get("selected"));
  const dress = () => el.classList.toggle("ecco-typed", Boolean(model.get("monospace")));
  dress();
  draw();
  model.on("change:_shown", draw);
  model.on("change:selected", follow);
  model.on("change:monospace", dress);
  return () => {
    model.off("change:_shown", draw);
    model.off("change:selected", follow);
    model.off("change:monospace", dress);
    view.destroy();
  };
}

export default { render };
