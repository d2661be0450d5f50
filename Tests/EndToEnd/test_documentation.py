"""README, docs and CONTRIBUTING, held to the product: what they point to exists, and the README's
examples do what it says."""

import re
import subprocess

import pytest

from lab import BIN, ROOT

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def anchors(page):
    """What GitHub makes of the headings."""
    heads = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def block(kind, title):
    """The first piece of code of a kind ("" = plain) in the section of the README."""
    section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return next(text for name, text in re.findall(r"^```(\w*)\n(.*?)^```$", section, re.S | re.M) if name == kind)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_points_to_exists(page):
    targets = re.findall(r"\]\(([^)]+)\)", without_code(page.read_text()))
    for target in targets:
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_is_listed():
    listed = set(re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs" / "README.md").read_text()))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_the_tools_that_are_named_exist():
    for page in PAGES:
        for tool in re.findall(r"\b(?:tools|Benchmarks)/[a-z][\w.-]*", page.read_text()):
            assert (ROOT / tool.rstrip(".")).exists(), f"{page.name}: {tool}"


def test_the_rules_of_the_readme_do_what_it_shows(tmp_path):
    (tmp_path / "rules.yaml").write_text(block("yaml", "Your own rules"))
    command, shown = block("", "Your own rules").split("\n", 1)
    program, *arguments = command.removeprefix("$ ").split()
    arguments = [str(ROOT / a) if a.startswith("Tests/") else a for a in arguments]
    done = subprocess.run([BIN / program, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


def test_the_processor_of_the_readme_is_the_one_that_is_tested():
    code = block("swift", "Your own processor")
    tested = (ROOT / "Tests" / "ConfigurationTests" / "ReadmeTests.swift").read_text()
    assert code.removeprefix("import Sluice\n\n").split("\n\nAppliance.main")[0] in tested


def test_the_figures_of_the_readme_are_those_of_the_page_on_costs():
    """One table, and the instructions of one packet."""
    costs = (ROOT / "docs" / "costs.md").read_text()
    rows = re.findall(r"^\| .*\d,000.*$", README, re.M)
    assert len(rows) == 5
    for row in rows:
        assert row in costs, row
    ours, in_c = re.search(r"128 bytes takes (\d+) instructions \(C: (\d+)\)", README).groups()
    assert re.search(rf"128 bytes, forwarded \| {ours} \| {in_c} \|", costs)
