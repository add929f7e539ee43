// Finds the views of this page that carry `key` and lets `mount` draw them. In a notebook the
// script can run before its view is attached, hence the patience.
function boot(key, mount, tries = 200) {
  const views = [...document.querySelectorAll(`.ecco[data-view="${key}"]`)];
  const fresh = views.filter((view) => !view.eccoDrawn);
  for (const view of fresh) {
    view.eccoDrawn = true;
    const data = JSON.parse(view.querySelector('script[type="application/json"]').textContent);
    for (const part of data.sides ?? [data]) part.scores = decodeScores(part.scores);
    mount(view.querySelector(".ecco-swap"), data);
  }
  if (!fresh.length && tries) setTimeout(boot, 50, key, mount, tries - 1);
}
