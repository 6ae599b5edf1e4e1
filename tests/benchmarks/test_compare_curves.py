"""The short tables of the documentation say what the results say."""

from __future__ import annotations

from benchmarks.compare_curves import OURS, chests, learning_curves, limbs
from napari_graydet.workflows.compare.results import Job, JobResult, Score
from napari_graydet.workflows.evaluation.measuring import Cost

HOME, TRAINED, CHOSEN_ON = ["m0", "m1"], ["m2"], ["m3", "m4"]


def result(method: str, train: str, dice: dict[str, dict[str, float]], **more: int) -> JobResult:
    baseline = method in ("unet", "fcn")
    job = Job(
        method=method,
        train=train,
        n=more.get("n", 25),
        seed=more.get("seed", 0),
        iterations=1850 if baseline else None,
        size=128 if baseline else None,
    )
    scores = {
        test: [
            Score(image=i, patient=i, label="x", dice=v, iou=v / 2, fn=0.1, fp=0.2, hd95=3.0)
            for i, v in values.items()
        ]
        for test, values in dice.items()
    }
    return JobResult(
        job=job,
        data={},
        images=TRAINED if train == "montgomery" else [],
        scores=scores,
        weights=None,
        steps={},
        training=Cost(),
        inference={},
        device="cpu",
        date="2026-01-01",
        versions={},
    )


def cells(table: str, *begin: str) -> list[str]:
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()]
    (found,) = (row for row in rows if row[: len(begin)] == list(begin))
    return found[len(begin) :]


def test_a_row_of_the_curves_has_means_and_their_difference() -> None:
    home = [
        result(OURS, "montgomery", {"montgomery": dict.fromkeys(HOME, 0.97)}),
        result("unet", "montgomery", {"montgomery": dict.fromkeys(HOME, 0.96)}),
        result("fcn", "montgomery", {"montgomery": dict.fromkeys(HOME, 0.98)}),
    ]
    table = learning_curves(home)
    row = cells(table, "25 Montgomery", "0", "Montgomery")
    assert row[:5] == ["2", ".9700", ".9600", "+.010 [+.010, +.010]", "–"]
    assert "ahead of the U-Net in 1 of 1 figures (1 by the mean alone), behind in 0;" in table
    assert table.endswith("networks in 1 of 2 figures (1 by the mean alone), behind in 1.")


def test_images_of_choices_are_left_out_of_a_row_of_their_own() -> None:
    both = dict.fromkeys([*HOME, *TRAINED, *CHOSEN_ON], 0.9) | {"m3": 0.1, "m4": 0.1}
    made = [
        result("unet", "montgomery", {"montgomery": dict.fromkeys(HOME, 0.96)}),
        result("unet", "shenzhen", {"montgomery": both, "shenzhen": {"s": 0.5}}),
    ]
    table = learning_curves(made)
    assert cells(table, "25 Shenzhen", "0", "Montgomery")[:3] == ["5", "–", "**.5800**"]
    aside = cells(table, "25 Shenzhen", "0", "Montgomery, those not used in 0014 and 0018")
    assert aside[:4] == ["3", "–", "**.9000**", "–"]


def test_an_image_that_a_method_failed_on_counts_as_nothing() -> None:
    failed = result("unet", "tibia", {"tibia": {"a": 0.9, "b": 0.9}})
    failed.scores["tibia"][1].dice = None
    table = limbs([failed, result(OURS, "tibia", {"tibia": {"a": 0.8, "b": 0.8}})])
    assert cells(table, "U-Net")[:5] == [".4500", ".450", ".100", ".200", "3.0"]
    assert cells(table, "U-Net")[5:] == ["–"] * 5
    assert "tibia: ours minus U-Net +.350 [-.100, +.800]" in table


def test_nothing_run_is_an_empty_table() -> None:
    assert learning_curves([]).endswith("0 of 0 figures (0 by the mean alone), behind in 0.")
    assert "U-Net++ | – |" in limbs([])


def test_the_best_of_a_place_is_bold_at_home_and_abroad() -> None:
    ours = {"montgomery": {"a": 0.97, "b": 0.97}, "shenzhen": {"c": 0.9, "d": 0.9}}
    theirs = {"montgomery": {"a": 0.96, "b": 0.96}, "shenzhen": {"c": 0.92, "d": 0.92}}
    made = [result(OURS, "montgomery", ours), result("unet", "montgomery", theirs)]
    table = chests(made)
    assert cells(table, "ours, refined")[:6] == ["**.9700**", ".485", "3.0", ".9000", ".450", "3.0"]
    assert cells(table, "U-Net")[:6] == [".9600", ".480", "3.0", "**.9200**", ".460", "3.0"]
    assert cells(table, "ridge") == ["–"] * 12
    assert "montgomery -> shenzhen: ours minus U-Net -.020 [-.020, -.020]" in table
