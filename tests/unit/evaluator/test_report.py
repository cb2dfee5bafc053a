"""A report says the same three ways, calls nothing outside, and cannot be attacked by what it quotes."""

import re
from pathlib import Path

import msgspec
import pytest
import typst

from services.evaluator.domain.statistics import Preference
from services.evaluator.report.__main__ import write
from services.evaluator.report.build import ReportSpec, build, read_curve
from services.evaluator.report.clean import plain
from services.evaluator.report.data import CurvePoint, ReportData
from services.evaluator.scoring.shapes import Measured, Pair, Turn

HOSTILE = (
    '#panic("run") #import "/etc/passwd" #read("data.json") $x$ = heading *bold* <label> @ref \\ ` ```',
    "<img src=file:///etc/passwd onerror=alert(1)><script>alert(1)</script>{{ data.run }}{% raw %}",
    "=cmd|' /C calc'!A0",
    "\u202egnp.exe\u0000\u0007 and \u200b hidden",
    "]]> &quot; --> </style></svg><style>*{display:none}</style>",
)


@pytest.fixture
def written(spec: ReportSpec, measured: Measured) -> Path:
    out = Path(spec.out)
    write(build(spec, measured), out)
    return out


def test_the_three_forms_are_written_and_the_json_reads_back(written: Path) -> None:
    data = msgspec.json.decode((written / "report.json").read_bytes(), type=ReportData)
    assert data.verdict == "better"
    assert data.headline in (written / "report.html").read_text()
    assert (written / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_the_same_measurements_give_the_same_report(spec: ReportSpec, measured: Measured) -> None:
    assert build(spec, measured) == build(spec, measured)


def test_a_report_says_that_the_base_was_coarser_while_it_was_learned_from(
    spec: ReportSpec, measured: Measured
) -> None:
    bits = msgspec.structs.replace(spec, run=msgspec.structs.replace(spec.run, quantization="nf4"))
    assert "measured, and the adapter is used, on the base as it is" in build(bits, measured).figures[-1].means
    assert "four bits" not in build(spec, measured).figures[-1].means


def test_the_example_that_stands_apart_is_marked(spec: ReportSpec, measured: Measured) -> None:
    assert [each.id for each in build(spec, measured).examples if each.outlier] == ["ex-0011"]


def test_the_page_asks_nothing_of_the_outside(written: Path) -> None:
    page = (written / "report.html").read_text()
    addresses = set(re.findall(r"https?://[^\"'\s<]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(script|img|link|iframe|object|embed)\b|url\((?!#)|@import", page)


def test_a_reply_that_was_cut_off_says_so_and_another_does_not(spec: ReportSpec, measured: Measured) -> None:
    pair = Pair("ex-1", (Turn("user", "Rent?"),), "", "So the first", "Pay it.", base_cut=True)
    out = Path(spec.out)
    write(build(spec, msgspec.structs.replace(measured, pairs=(pair,))), out)
    page = (out / "report.html").read_text()
    assert "So the first …<" in page
    assert "Pay it.<" in page


def test_hostile_replies_come_out_inert_on_the_page(spec: ReportSpec, measured: Measured) -> None:
    page = _attacked(spec, measured)[0]
    assert not re.search(r"<(script|img)\b", page)
    assert page.count("</style>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ data.run }}" in page
    assert not re.search("[\u202e\x00\x07\u200b]", page)


def test_hostile_replies_are_never_run_on_paper(spec: ReportSpec, measured: Measured) -> None:
    assert _attacked(spec, measured)[1].startswith(b"%PDF-")


def test_the_paper_would_fail_if_text_were_read_as_code(tmp_path: Path) -> None:
    source = tmp_path / "naive.typ"
    source.write_text(f"A reply pasted into the template: {HOSTILE[0]}")
    with pytest.raises(typst.TypstError):
        typst.compile(str(source))


def test_a_run_without_metrics_has_no_curve(tmp_path: Path) -> None:
    assert read_curve(tmp_path / "metrics.csv") == ()


def test_the_curve_is_read_as_the_trainer_writes_it(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train_loss,eval_loss,lr\n1,2.5,,0.1\n2,2.25,2.4,0.1\n")
    assert read_curve(tmp_path / "metrics.csv") == (CurvePoint(1, 2.5, None), CurvePoint(2, 2.25, 2.4))


def test_a_report_on_pairs_speaks_of_preference_in_all_three_forms(spec: ReportSpec, measured: Measured) -> None:
    won = tuple(Preference(f"p-{each}", 90.0, 80.0, 50.0, 60.0 if each else 30.0) for each in range(12))
    data = build(spec, msgspec.structs.replace(measured, preferences=won))
    assert [each.suite for each in data.scores] == ["preference", "retention"]
    assert "leans further towards the reply you prefer" in data.headline
    assert data.figures[0].value == "92\u00a0%"
    write(data, Path(spec.out))
    page = (Path(spec.out) / "report.html").read_text()
    assert "Preferring what you prefer" in page
    assert "50.0 %" in page
    assert (Path(spec.out) / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_a_report_without_pairs_or_knowledge_is_still_whole(spec: ReportSpec, measured: Measured) -> None:
    write(build(spec, msgspec.structs.replace(measured, pairs=(), answers=())), Path(spec.out))
    assert "Not measured." in (Path(spec.out) / "report.html").read_text()


def test_cleaning_keeps_words_of_every_script() -> None:
    assert plain("Größe 価格 цена\r\nnext\tcolumn") == "Größe 価格 цена\nnext\tcolumn"


def _attacked(spec: ReportSpec, measured: Measured) -> tuple[str, bytes]:
    pairs = tuple(Pair(each[:40], (Turn("user", each),), each, each, each) for each in HOSTILE)
    out = Path(spec.out)
    write(build(spec, msgspec.structs.replace(measured, pairs=pairs)), out)
    return (out / "report.html").read_text(), (out / "report.pdf").read_bytes()
