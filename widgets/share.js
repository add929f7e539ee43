// A button that copies what Python sends when it is pressed.

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page from an unsafe address has no clipboard
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) throw new Error("no clipboard");
  }
}

async function render({ model, el }) {
  const button = document.createElement("button"), said = document.createElement("span");
  el.classList.add("ecco-copy");
  button.type = "button";
  button.className = "ecco-copy-button";
  button.textContent = "Share";
  button.title = "Copies this view as HTML that needs no network, to paste into a page";
  said.setAttribute("role", "status");
  el.append(button, said);
  const press = () => { said.textContent = ""; model.send({ share: true }); };
  const heard = async ({ html }) => {
    if (html === undefined) return;
    try {
      await copy(html);
      said.textContent = `Copied ${Math.ceil(html.length / 1024)} kB of HTML`;
    } catch {
      said.textContent = "The browser does not let this page copy";
    }
  };
  button.addEventListener("click", press);
  model.on("msg:custom", heard);
  return () => model.off("msg:custom", heard);
}

export default { render };
