// A box for a token: it tells Python what is typed, and completes it by what Python answers.

const PAUSE = 120; // ms without a key, after which what is typed is told
let boxes = 0;

function marked(text) {
  return text.replaceAll(" ", "\u2423").replaceAll("\n", "\u21b5");
}

async function render({ model, el }) {
  const label = document.createElement("label"), input = document.createElement("input");
  const list = document.createElement("datalist"), hint = document.createElement("div");
  const name = document.createElement("span");
  el.classList.add("ecco-token-box");
  list.id = `ecco-tokens-${Date.now().toString(36)}-${boxes++}`;
  input.setAttribute("list", list.id);
  input.autocomplete = "off";
  input.spellcheck = false;
  hint.className = "ecco-hint-line";
  hint.setAttribute("role", "status");
  label.append(name, input);
  el.append(label, list, hint);
  let timer = 0;
  const send = (trait, value) => {
    if (model.get(trait) === value) return;
    model.set(trait, value);
    model.save_changes();
  };
  const typed = () => { clearTimeout(timer); send("typed", input.value); };
  const follow = () => {
    if (input.value !== model.get("value")) input.value = model.get("value");
  };
  const offer = () => {
    list.replaceChildren(...model.get("options").map((text) => {
      const option = document.createElement("option");
      option.value = text;
      option.label = marked(text); // a space at the start would not be seen
      return option;
    }));
  };
  const dress = () => {
    name.textContent = model.get("description");
    input.placeholder = model.get("placeholder");
    input.title = model.get("tooltip");
    input.disabled = model.get("disabled");
  };
  const tell = () => { hint.textContent = model.get("hint"); };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(typed, PAUSE); });
  input.addEventListener("change", () => { typed(); send("value", input.value); });
  input.addEventListener("keydown", (event) => event.stopPropagation()); // a notebook has uses for keys
  const heard = { value: follow, options: offer, hint: tell, disabled: dress, placeholder: dress };
  for (const [trait, action] of Object.entries(heard)) model.on(`change:${trait}`, action);
  [follow, offer, dress, tell].forEach((action) => action());
  return () => {
    clearTimeout(timer);
    for (const [trait, action] of Object.entries(heard)) model.off(`change:${trait}`, action);
  };
}

export default { render };
