"""Charts that are saved: each as SVG that stands alone, and its numbers as CSV."""

import csv
import io
import re
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import pytest
from example_runs import RunMaker

from p2pfl_simulations.report import (
    Drawing,
    comparison_drawings,
    render_comparison,
    render_report,
    run_drawings,
    save_drawings,
)
from p2pfl_simulations.report.standalone import standalone
from p2pfl_simulations.report.svg import element, picture
from p2pfl_simulations.results.run import RunResult

SVG = "{http://www.w3.org/2000/svg}"
CHARTS = {
    "gain-by-peer",
    "gain-against-rows",
    "own-test-rows-over-rounds",
    "common-test-rows-over-rounds",
    "figures-over-bytes",
    "agreement",
    "peers-online",
    "rounds-lost",
    "fault-timeline",
    "exchange",
    "peers-at-the-end",
    "labels",
}


def table(drawing: Drawing) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(drawing.csv())))


def files_of(page: str) -> dict[str, str]:
    """Take what a page lets its reader save, by the names that the browser gives the files."""
    links = re.findall(r'download="([^"]+)" href="data:[^"]*?;base64,([^"]+)"', page)
    return {name: b64decode(content).decode() for name, content in links}


def test_every_chart_of_the_page_can_be_saved_with_its_numbers(make_run: RunMaker) -> None:
    run = make_run(peers=16)
    files = files_of(render_report(run))
    assert files.keys() == {
        f"by-hand-3-{chart}.{end}" for chart in CHARTS for end in ("svg", "csv")
    }
    for drawing in filter(None, run_drawings(run).values()):
        assert files[f"{drawing.name}.svg"] == drawing.svg()
        assert files[f"{drawing.name}.csv"] == drawing.csv()
    compared = {"a": run, "b": make_run(seed=4)}
    files = files_of(render_comparison(compared))
    assert len(files) == 2 * len(comparison_drawings(compared)) == 10
    assert all(len(content.splitlines()) > 1 for content in files.values())


def test_a_saved_drawing_needs_no_style_sheet_and_no_pointer(make_run: RunMaker) -> None:
    for drawing in filter(None, run_drawings(make_run(peers=200)).values()):
        root = ElementTree.fromstring(drawing.svg())
        assert root.tag == f"{SVG}svg"
        assert float(str(root.get("width"))) > 400
        for part in root.iter():
            assert not {"class", "style"} & part.attrib.keys()
            assert part.tag != f"{SVG}title"
            assert not any("var(" in value for value in part.attrib.values())
            if part.tag in (f"{SVG}circle", f"{SVG}rect", f"{SVG}text"):
                assert part.get("fill") is not None, (drawing.name, part.attrib)
            if part.tag == f"{SVG}path":
                assert {"fill", "stroke"} & part.attrib.keys(), (drawing.name, part.attrib)


def test_a_saved_drawing_looks_as_the_page_does() -> None:
    """The narrower selector wins, colours come through two variables, own style wins over all."""
    drawn = picture(
        10,
        10,
        "",
        element("path", d="M0 0H1", class_="line thin dashed r-1"),
        element("path", d="M0 1H1", class_="cell t-2", style="stroke-width:7"),
        element("g", element("path", d="M0 2H1"), class_="spot"),
    )
    _, line, cell = ElementTree.fromstring(standalone(drawn))
    assert line.attrib == {
        "d": "M0 0H1",
        "fill": "none",
        "stroke": "#b8480f",
        "stroke-width": "1.9",
        "stroke-dasharray": "7 4",
        "stroke-linecap": "butt",
        "stroke-linejoin": "round",
    }
    assert (cell.get("fill"), cell.get("stroke"), cell.get("stroke-width")) == (
        "none",
        "#98bee1",
        "7",
    )


def test_the_numbers_are_those_of_the_run(make_run: RunMaker) -> None:
    run = make_run(peers=9, rounds=700)  # More rounds than a line has points.
    drawn = run_drawings(run)
    rows = table(drawn["own-test-rows-over-rounds"])
    assert [int(row["round"]) for row in rows] == list(range(1, 701))
    for row, measured in zip(rows, run.rounds, strict=True):
        assert float(row["own_mean"]) == pytest.approx(measured.own_mean, rel=1e-9)
        assert float(row["own_local_worst"]) == pytest.approx(measured.own_local_worst, rel=1e-9)
    assert [row["peer"] for row in table(drawn["peers-at-the-end"])] == list("012345678")
    partners = {int(it["peer"]): it["partners"] for it in table(drawn["exchange"])}
    assert partners == {p: " ".join(map(str, row)) for p, row in enumerate(run.neighbours)}
    assert [row["lost"] for row in table(drawn["rounds-lost"])] == [str(r.lost) for r in run.rounds]
    away = [row for row in table(drawn["fault-timeline"]) if row["what"] == "offline"]
    assert len(away) > 10
    assert {row["detail"] for row in away} == {"churn", "dropout", "crash"}


def test_what_was_not_measured_is_an_empty_cell(make_run: RunMaker) -> None:
    run = make_run(rounds=3)
    run.rounds[1].own_pooled_mean, run.rounds[2].own_local_mean = None, float("nan")
    rows = table(run_drawings(run)["own-test-rows-over-rounds"])
    assert [row["own_pooled_mean"] == "" for row in rows] == [False, True, False]
    assert [row["own_local_mean"] == "" for row in rows] == [False, False, True]


def test_files_are_written_to_a_folder(make_run: RunMaker, tmp_path: Path) -> None:
    run: RunResult = make_run(name="a/b: c")
    written = save_drawings(run_drawings(run).values(), tmp_path / "new" / "folder")
    assert {path.name for path in written} == {
        f"a-b--c-3-{chart}.{ending}" for chart in CHARTS for ending in ("svg", "csv")
    }
    for path in written:
        assert path.parent == tmp_path / "new" / "folder"
        assert path.stat().st_size > 20
