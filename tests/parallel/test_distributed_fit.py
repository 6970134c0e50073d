"""``distributed=True``: the model that one process makes of all rows, however they are spread, and the same errors."""

import numpy as np
import pytest
import spread_work
from spread_work import CASES, KINDS

TOLERANCE = 1e-9
# float32 sums in another order, a few hundred steps on.
TOLERANCE_32 = 2e-4


def compare(found, whole, tolerance):
    for one, other in zip(found["weights"], whole["weights"], strict=True):
        assert np.abs(one - other).max() <= tolerance * np.abs(other).max()
    for name in ("loss", "validation", "temperature", "rate"):
        assert found[name] == pytest.approx(whole[name], rel=tolerance)
    assert found["classes"] == whole["classes"]
    if whole["gap"] is not None:
        assert found["gap"] == pytest.approx(whole["gap"], rel=0.01, abs=1e-6)


@pytest.fixture(scope="module")
def whole():
    made = {}

    def of(name, kind):
        if (name, kind) not in made:
            made[name, kind] = spread_work.fitted(CASES[name], kind)
        return made[name, kind]

    return of


@pytest.mark.parametrize("name", CASES)
def test_every_way_to_train_gives_what_one_process_gives(pool, whole, name):
    every = pool.run(spread_work.spread, CASES[name], "dense")
    for found in every:
        compare(found, whole(name, "dense"), TOLERANCE_32 if name == "float32" else TOLERANCE)
        for one, other in zip(found["weights"], every[0]["weights"], strict=True):
            assert np.array_equal(one, other), "the ranks' models differ"


@pytest.mark.parametrize("kind", KINDS[1:])
def test_every_kind_of_rows_gives_what_one_process_gives(pool, whole, kind):
    for found in pool.run(spread_work.spread, {}, kind):
        compare(found, whole("linear", kind), TOLERANCE_32 if kind == "bytes" else TOLERANCE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spread_work.nan, "DataError: X[3, 5] is NaN"),
        (spread_work.unknown_option, "momentum is '0.9' on rank 0 and '0.5' on rank"),
        (spread_work.fewer_features, "the number of features is 64 on rank 0 and 63 on rank"),
        (spread_work.other_type, "the type that X is learnt in is 'float64' on rank 0 and 'float32' on rank"),
        (spread_work.text_labels, "y has labels of the kinds ['U', 'i'] on different ranks"),
        (spread_work.bad_weight, "sample_weight[0] = -1.0: expected a finite number of at least 0"),
        (spread_work.shorter_truth, "as many as the rows of X"),
        (spread_work.failing_callback, "RuntimeError: no more"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("size", [2, 3])
def test_what_is_wrong_on_one_rank_is_said_on_all_and_the_group_goes_on(pools, change, said, size):
    answers = pools[size].run(spread_work.refusal, change)
    for message, _ in answers:
        assert message is not None
        assert said in message
    assert len({loss for _, loss in answers}) == 1


def test_a_callback_of_one_rank_stops_all(pools):
    assert pools[3].run(spread_work.stopped_by_one) == [2, 2, 2]


@pytest.mark.parametrize(("before", "after"), [(2, 2), (3, 3), (2, 3), (3, 1), (1, 4)])
def test_a_run_goes_on_from_its_checkpoint_on_any_number_of_ranks(pools, tmp_path, before, after):
    whole, _ = pools[after].run(spread_work.checkpointed, str(tmp_path / "none"), 99)[0]
    stopped, steps = pools[before].run(spread_work.checkpointed, str(tmp_path / "run"), 4)[0]
    assert "Leave" in stopped
    assert len(steps) == 2
    shards = sorted(path.name for path in (tmp_path / "run" / steps[-1]).iterdir())
    assert shards == ["manifest.json", *(f"shard-{rank:05}-of-{before:05}.safetensors" for rank in range(before))]
    answers = pools[after].run(spread_work.checkpointed, str(tmp_path / "run"), 99)
    for found, left in answers:
        assert left == []
        for one, other in zip(found["weights"], whole["weights"], strict=True):
            if before == after:
                assert np.array_equal(one, other)
            else:
                assert np.abs(one - other).max() <= TOLERANCE * np.abs(other).max()


def test_a_damaged_checkpoint_is_passed_over_and_another_run_is_refused(pools, tmp_path):
    directory = tmp_path / "run"
    pools[2].run(spread_work.checkpointed, str(directory), 4)
    newest = sorted(directory.iterdir())[-1]
    shard = newest / "shard-00001-of-00002.safetensors"
    data = bytearray(shard.read_bytes())
    data[-3] ^= 4
    shard.write_bytes(data)
    whole, _ = pools[2].run(spread_work.checkpointed, str(tmp_path / "none"), 99)[0]
    found = pools[2].run(spread_work.resumed_past_damage, str(directory))
    assert all("its sha256 differs" in warned for _, warned in found)
    for result, _ in found:
        assert all(np.array_equal(a, b) for a, b in zip(result["weights"], whole["weights"], strict=True))


def test_thousand_damaged_checkpoints_are_never_loaded(pools, tmp_path):
    directory = tmp_path / "run"
    pools[2].run(spread_work.checkpointed, str(directory), 4)
    counts = pools[1].run(spread_work.damage, str(directory), 1000)[0]
    assert counts == {"refused": 1000}
