"""Print what is installed beside this Python: name, version, licence, bytes; largest first."""

from importlib.metadata import Distribution, distributions


def licence(package: Distribution) -> str:
    """As the package declares it: an SPDX expression, its classifiers, or its own words."""
    about = package.metadata
    kinds = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier", [])
             if text.startswith("License :: OSI Approved :: ")]  # fmt: skip
    words = (about.get("License") or "").strip().partition("\n")[0]
    return about.get("License-Expression") or " AND ".join(kinds) or words or "see its files"


def size(package: Distribution) -> int:
    """Bytes of all its files."""
    paths = [package.locate_file(file) for file in package.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    rows = [(size(item), item.name, item.version, licence(item)) for item in distributions()]
    print("name\tversion\tlicence\tbytes")
    for amount, name, version, words in sorted(rows, reverse=True):
        print(f"{name}\t{version}\t{words}\t{amount}")
