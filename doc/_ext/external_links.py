"""Links that Sphinx does not find by itself.

A docstring names a neighbour of the module it stands in, ``split_samples``, though its
page stands elsewhere: a public name that only one object has is found by its end.

Links to other packages need no inventories. Intersphinx downloads one from each site,
and a build without network would fail or lose its links. The addresses of these
packages follow from the names, so a name that can be imported is a link.
"""

from api_pages import import_name
from docutils import nodes

__all__ = ["address_of", "setup"]

ADDRESSES = {
    "collections": "https://docs.python.org/3/library/{module}.html#{name}",
    "matplotlib": "https://matplotlib.org/stable/api/_as_gen/{name}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{page}.html#{name}",
    "scipy": (
        "https://docs.scipy.org/doc/scipy/reference/generated/{page}.html#{name}"
    ),
    "sklearn": ("https://scikit-learn.org/stable/modules/generated/{page}.html#{name}"),
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/generated/{page}.html#{name}",
    "zuko": "https://zuko.readthedocs.io/stable/",
}


def address_of(name):
    """The web address of a name of another package, None where there is none."""
    package = name.partition(".")[0]
    if package not in ADDRESSES:
        return None
    try:
        value = import_name(name)
    except (ImportError, AttributeError):
        return None
    page = name
    if "." in getattr(value, "__qualname__", ""):  # a method: on its class's page
        page = name.rpartition(".")[0]
    module = name.rpartition(".")[0]
    return ADDRESSES[package].format(page=page, module=module, name=name)


GLOSSARY = "https://scikit-learn.org/stable/glossary.html#term-{term}"


def resolve(app, env, node, content):
    if node.get("reftype") == "term":
        address = GLOSSARY.format(term=node["reftarget"].lower())
        return nodes.reference("", "", content, internal=False, refuri=address)
    if node.get("refdomain") != "py":
        return None
    domain, target = env.domains.python_domain, node["reftarget"]
    ends = [name for name in domain.objects if name.endswith(f".{target}")]
    if len(ends) == 1:
        node["reftarget"] = ends[0]
        return domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", ends[0], node, content
        )
    address = address_of(target)
    if address is None:
        return None
    return nodes.reference("", "", content, internal=False, refuri=address)


def setup(app):
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
