import csv
import io

from mfsearch.analysis.frame import study_frame
from mfsearch.analysis.table import trials_csv
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
