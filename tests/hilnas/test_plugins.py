import sys
from abc import ABC, abstractmethod
from importlib.metadata import EntryPoint

import pytest

from hilnas import plugins
from hilnas.errors import HilnasError, UnknownName
from hilnas.gates import Gate

BASE = """
from abc import ABC, abstractmethod
class Base(ABC):
    @abstractmethod
    def run(self): ...
"""
GOOD = """
from {package}._base import Base
class Good(Base):
    def run(self): return "good"
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the name of a package on sys.path and a function that adds a module to it."""
    name = "zoo_of_plugins"
    folder = tmp_path / name
    folder.mkdir()

    def add(module, text):
        (folder / f"{module}.py").write_text(text.format(package=name))

    add("__init__", "")
    add("_base", BASE)
    add("good", GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name, add
    for module in [item for item in sys.modules if item.split(".")[0] == name]:
        del sys.modules[module]


def base_of(package):
    module = __import__(f"{package}._base", fromlist=["Base"])
    return module.Base


def test_public_modules_are_plugins(package):
    name, add = package
    add("another", GOOD)
    add("_support", "")
    assert plugins.names(name) == ["another", "good"]


def test_listing_imports_no_plugin(package):
    name, add = package
    add("loud", "raise RuntimeError('imported')")
    assert plugins.names(name) == ["good", "loud"]
    assert f"{name}.loud" not in sys.modules
    assert f"{name}.good" not in sys.modules


def test_loading_imports_only_the_chosen_one(package):
    name, add = package
    add("loud", "raise RuntimeError('imported')")
    assert plugins.load(name, "good", base_of(name))().run() == "good"


def test_an_unknown_name_suggests_the_nearest(package):
    name, _ = package
    with pytest.raises(UnknownName) as error:
        plugins.load(name, "goood", base_of(name), noun="animal")
    assert error.value.what == "unknown animal 'goood'"
    assert "Did you mean 'good'?" in error.value.cause


def test_a_private_module_cannot_be_chosen(package):
    name, _ = package
    with pytest.raises(UnknownName):
        plugins.load(name, "_base", base_of(name))


def test_a_missing_import_disturbs_only_its_own_module(package):
    name, add = package
    add("needy", "import no_such_sdk_at_all.deep\n" + GOOD)
    assert plugins.names(name) == ["good", "needy"]
    assert plugins.load(name, "good", base_of(name))().run() == "good"
    with pytest.raises(HilnasError) as error:
        plugins.load(name, "needy", base_of(name))
    assert "no_such_sdk_at_all" in error.value.what
    assert error.value.remedy.endswith("pip install no_such_sdk_at_all")


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("from {package}._base import Base", 0),
        (GOOD + "class Second(Good): ...", 2),
        ("from {package}._base import Base\nclass Abstract(Base): ...", 0),
        ("from {package}.good import Good", 0),
    ],
)
def test_a_module_must_define_exactly_one_concrete_class(package, text, n):
    name, add = package
    add("odd", text)
    with pytest.raises(HilnasError, match=f"exactly one concrete Base, found {n}"):
        plugins.load(name, "odd", base_of(name))


class Outside(ABC):
    @abstractmethod
    def run(self): ...


class Third(Outside):
    def run(self):
        return "third"


@pytest.fixture
def registered(package, monkeypatch):
    name, _ = package
    entries = [
        EntryPoint("third", f"{__name__}:Third", f"hilnas.{name}"),
        EntryPoint("wrong", "hilnas.gates:Gate", f"hilnas.{name}"),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == f"hilnas.{name}" else [])
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[Third.__module__])
    return name


def test_third_parties_add_by_entry_points(registered):
    assert plugins.names(registered) == ["good", "third", "wrong"]
    assert plugins.load(registered, "third", Outside)().run() == "third"


def test_an_entry_point_to_something_else_is_refused(registered):
    with pytest.raises(HilnasError, match="no Outside"):
        plugins.load(registered, "wrong", Outside)
    assert plugins.load(registered, "wrong", Gate) is Gate


def test_the_own_spaces_and_devices_are_found():
    assert "nasbench201" in plugins.names("search_spaces")
    devices = plugins.names("devices")
    assert {"fake", "local_cpu", "replay"} <= set(devices)
    assert "agent" not in devices


def test_a_package_that_is_not_there_has_no_plugins():
    assert plugins.names("no_such_package_at_all") == []
