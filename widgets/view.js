// A static view as a widget: the same HTML, drawn by the same script, which also reports to Python.

async function render({ model, el }) {
  const { open } = await load(model.get("_script"));
  const send = sender(model);
  el.classList.add("ecco-widget");
  let view;
  const follow = () => {
    const place = model.get("selected");
    if (place.length) view.chooseAt(place);
  };
  const draw = () => {
    el.innerHTML = model.get("_html"); // escaped where it is made, in html.py
    const section = el.querySelector(".ecco");
    const data = JSON.parse(section.querySelector('script[type="application/json"]').textContent);
    view = open(section, data, {
      hover: (place) => send("hovered", place),
      choose: (place) => send("selected", place),
    });
    follow();
  };
  draw();
  model.on("change:_html", draw);
  model.on("change:selected", follow);
  return () => {
    model.off("change:_html", draw);
    model.off("change:selected", follow);
  };
}

export default { render };
