import csv
import io

from mfsearch.analysis.front.table import trials_csv
from mfsearch.study.frame import study_frame
from tests.analysis.rows import row, study


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_table_holds_base_units_and_a_column_a_knob() -> None:
    (line,) = read(trials_csv(study_frame([row(7, 0.5, 123_456_789)])))
    assert (line["number"], line["top1"], float(line["madds"])) == ("7", "0.5", 123_456_789)
    assert (line["tokens.count"], line["dyrelu.source"]) == ("6", "pooled")
    assert line["latency_ms"] == ""
    assert not {"config", "curve", "note"} & set(line)


def test_numbers_choose_rows_in_their_order_and_notes_come_along() -> None:
    lines = read(trials_csv(study_frame(study()), {9: 'the one, "maybe"\nsay they', 3: "=1+1"}, [9, 3, 0]))
    assert [line["number"] for line in lines] == ["9", "3", "0"]
    assert [line["note"] for line in lines] == ['the one, "maybe"\nsay they', "'=1+1", ""]


def test_an_empty_study_is_a_head() -> None:
    assert trials_csv(study_frame([])).startswith("number,outcome,reason,origin")
    assert read(trials_csv(study_frame([]))) == []


def test_a_knob_with_the_name_of_a_metric_keeps_its_prefix_and_no_head_is_a_formula() -> None:
    odd = row(0, params={"resolution": 160, "note": "x", "=cmd()": 1})
    (line,) = read(trials_csv(study_frame([odd]), {0: "mine"}))
    assert (line["resolution"], line["knob:resolution"]) == ("224.0", "160")
    assert (line["note"], line["knob:note"]) == ("mine", "x")
    assert line["'=cmd()"] == "1"
