"""ecco-captum: what a Transformer language model did while it wrote, shown and tested."""

import lazy_loader

# The names stand in __init__.pyi. Each is imported when it is first asked for, so that
# `import ecco_captum` loads neither torch nor ipywidgets.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.remove("widgets")  # a package of its own, imported by its name
