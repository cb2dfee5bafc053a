"""The picture of a run that was taken away three times, beside the one that was not."""

from pathlib import Path

from deploy.spot_picture import draw, picture

CURVE = [(step, 4.0 - step / 20) for step in range(1, 31)]


def test_both_curves_and_every_stop_are_in_it() -> None:
    spec = picture(CURVE, CURVE[:20], [5, 12, 20])
    rows = spec["data"]["values"]
    assert [sum(row["run"] == run for row in rows) for run in ("Undisturbed", "Preempted")] == [30, 20]
    stops = {row["step"] for layer in spec["layer"][1:] for row in layer["data"]["values"]}
    assert stops == {5, 12, 20}


def test_it_is_drawn_with_words(tmp_path: Path) -> None:
    svg, png = draw(tmp_path, CURVE, CURVE, [10])
    text = svg.read_text()
    assert all(word in text for word in ("Undisturbed", "Preempted", "taken", "optimiser step"))
    assert png.read_bytes().startswith(b"\x89PNG")
