"""Modules that are imported only when they are used."""

import subprocess
import sys

import pytest

from bids_brnn.system.imports import postponed


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that no one has imported yet, and where it says that it was loaded."""
    package = tmp_path / "postponed_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("import sys\nsys.postponed_loads += 1\nanswer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "postponed_loads", 0, raising=False)
    yield "postponed_package.inner"
    for name in ("postponed_package", "postponed_package.inner"):
        sys.modules.pop(name, None)


def test_a_module_is_loaded_once_and_when_it_is_used(module):
    with postponed(module):
        import postponed_package.inner as inner  # type: ignore[import-not-found]
    assert sys.postponed_loads == 0
    assert (inner.answer, inner.answer) == (42, 42)
    assert sys.postponed_loads == 1


def test_others_get_the_module_itself(module):
    with postponed(module):
        import postponed_package.inner as stand_in
    import postponed_package.inner as own
    from postponed_package.inner import answer

    assert answer == 42
    assert own.__spec__ is not None
    assert stand_in.answer == 42
    assert sys.postponed_loads == 1


def test_what_it_does_not_have_is_an_attribute_error(module):
    with postponed(module):
        import postponed_package.inner as inner
    with pytest.raises(AttributeError, match="nothing"):
        _ = inner.nothing


def test_a_module_that_is_there_stays(module):
    import postponed_package.inner as own

    with postponed(module):
        import postponed_package.inner as again
    assert again is own
    assert sys.modules[module] is own


def test_workflows_load_no_scipy_before_it_is_used():
    code = (
        "import sys, bids_brnn.workflows, nipype.utils.filemanip as files\n"
        "assert 'scipy.sparse' not in sys.modules, 'loaded'\n"
        "assert callable(files.sio.loadmat)\n"
        "assert 'scipy.sparse' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
