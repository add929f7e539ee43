// A view in a frame of its own takes the theme of the page around it, now and when that changes.
try {
  const around = parent.document.body;
  const follow = () => {
    if (around.dataset.theme) document.documentElement.dataset.theme = around.dataset.theme;
  };
  new MutationObserver(follow).observe(around, { attributes: true, attributeFilter: ["data-theme"] });
  follow();
} catch { /* a page from elsewhere cannot be read; the system's theme stays */ }
