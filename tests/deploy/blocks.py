"""The command blocks of the documents, by the marker in front of each.

    <!-- run: NAME -->          a check of scripts/deploy-test runs it as it stands, but for ports
    <!-- parsed: kubectl, … --> scripts/kubernetes-test gives it to kubectl and Helm, without a cluster
    <!-- not run: REASON -->    nothing runs it

tests/tidy.rs sees to it that each block has one. Usage: blocks.py names, blocks.py text NAME, or blocks.py parsed
FOLDER, which writes a file for each block there. Blocks with the same name are one text, in the order of the documents.
blocks.py values FOLDER writes a file for each block of YAML in docs/kubernetes.md, which are values of the chart unless they
begin with "rules:".
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parents[2]
BLOCK = re.compile(r"^<!-- (run|parsed): (.+?) -->\n```sh\n(.*?)^```$", re.M | re.S)


def blocks(kind):
    """Name and text of each block."""
    for path in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted(ROOT.glob("docs/*.md"))]:
        for found, name, text in BLOCK.findall(path.read_text()):
            if found == kind:
                yield name, text


def main(what, *arguments):
    if what == "names":
        print("\n".join(sorted({name for name, _ in blocks("run")})))
    elif what == "text":
        found = [text for name, text in blocks("run") if name == arguments[0]]
        if not found:
            sys.exit(f"no document has a block named {arguments[0]}")
        print("".join(found), end="")
    elif what == "parsed":
        folder = pathlib.Path(arguments[0])
        for number, (_, text) in enumerate(blocks("parsed")):
            (folder / f"{number}.sh").write_text(text)
    elif what == "values":
        texts = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/kubernetes.md").read_text(), re.M | re.S)
        for number, text in enumerate(text for text in texts if not text.startswith("rules:")):
            (pathlib.Path(arguments[0]) / f"{number}.yaml").write_text(text)
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
