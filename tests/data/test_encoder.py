"""Columns become numbers by what the training rows hold; later rows are only looked up."""

import datetime
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossent.data import Dataset, ImageEncoder, TableEncoder
from crossent.data.encoder import encoder_from_json
from crossent.errors import DataError


def table(first_row=1, **columns):
    frame = pl.DataFrame(columns, strict=False)
    return Dataset("t.csv", frame, np.arange(first_row, first_row + frame.height))


def restored(encoder):
    return encoder_from_json(json.loads(json.dumps(encoder.to_json())))


def test_numbers_have_mean_0_and_deviation_1():
    rng = np.random.default_rng(0)
    x = TableEncoder.fit(data := table(a=rng.normal(5, 3, 500), b=rng.integers(0, 9, 500))).transform(data).x
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0, dtype=np.float64), 1, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e200])
def test_numbers_of_any_size_are_standardised(scale):
    data = table(a=np.array([1.0, 2.0, 3.0, 6.0]) * scale)
    x = TableEncoder.fit(data).transform(data).x[:, 0]
    np.testing.assert_allclose(x, np.array([-2, -1, 0, 3]) / np.sqrt(3.5), rtol=1e-6, atol=1e-7)


def test_small_changes_on_a_large_offset_survive():
    data = table(a=1e9 + np.arange(4.0))
    x = TableEncoder.fit(data).transform(data).x[:, 0]
    np.testing.assert_allclose(x, np.array([-1.5, -0.5, 0.5, 1.5]) / np.sqrt(1.25), rtol=1e-6)


def test_a_missing_number_is_the_mean_and_is_marked():
    encoder = TableEncoder.fit(table(a=[1.0, None, 3.0, float("nan")]))
    assert encoder.feature_names == ["a", "a=(missing)"]
    assert encoder.transform(table(a=[None, 3.0])).x.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_a_number_missing_only_later_is_the_mean():
    encoder = TableEncoder.fit(table(a=[1.0, 3.0]))
    assert encoder.transform(table(a=[None, 3.0])).x.tolist() == [[0.0], [1.0]]


def test_a_column_that_is_only_sometimes_there_is_a_mark():
    encoder = TableEncoder.fit(data := table(a=[2.0, None, 2.0]))
    assert encoder.transform(data).x.tolist() == [[0, 0], [0, 1], [0, 0]]


def test_categories_are_one_hot_and_missing_is_a_level():
    encoder = TableEncoder.fit(data := table(kind=["dog", "cat", None, "dog"]))
    assert encoder.feature_names == ["kind=cat", "kind=dog", "kind=(missing)"]
    assert encoder.transform(data).x.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_unknown_categories_are_zeros_and_counted():
    encoder = TableEncoder.fit(table(kind=["dog", "cat"], wild=[True, False]))
    encoded = encoder.transform(table(kind=["emu", "cat", "ant", None], wild=[None, True, False, True]))
    assert encoded.unknown == {"kind": 2}
    assert encoded.x.tolist() == [[0, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_the_rarest_categories_share_a_level_which_takes_unknown_ones():
    data = table(kind=["a"] * 5 + ["b"] * 4 + ["c", "d"])
    encoder = TableEncoder.fit(data, max_levels=2)
    assert encoder.feature_names == ["kind=a", "kind=b", "kind=(other)"]
    encoded = encoder.transform(table(kind=["a", "d", "new"]))
    assert encoded.x.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert encoded.unknown == {}
    assert "rarest 2" in encoder.notes[0]


def test_names_of_special_levels_are_no_special_levels():
    encoder = TableEncoder.fit(data := table(kind=["(missing)", "(other)", None]))
    assert encoder.transform(data).x.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_column_of_one_value_is_left_out_with_a_note():
    encoder = TableEncoder.fit(table(a=[1.0, 2.0], one=[7, 7], word=["x", "x"], none=[None, None]))
    assert encoder.feature_names == ["a"]
    assert [note.split(":")[0] for note in encoder.notes] == [
        "column 'one' holds the one value 7",
        "column 'word' holds the one value x",
        "column 'none' holds only missing values",
    ]


def test_nothing_left_to_learn_from_is_an_error():
    with pytest.raises(DataError, match=r"t\.csv: no column has more than one value"):
        TableEncoder.fit(table(a=[1.0, 1.0]))


@pytest.mark.parametrize(
    "values",
    [
        [datetime.date(2024, 1, 2), datetime.date(2024, 2, 3)],
        [datetime.datetime(2024, 1, 2, 3), datetime.datetime(2024, 2, 3, 4)],
        [datetime.timedelta(1), datetime.timedelta(2)],
        ["2024-01-02", "2024-02-03"],
        ["2024-01-02 10:20:30", "2024-02-03T01:02:03Z"],
        ["1/2/2024", "13/2/2024"],
        ["02.03.24", "11.03.24"],
        ["10:30", "11:45:10"],
    ],
)
def test_dates_are_refused_with_the_way_to_convert_them(values):
    with pytest.raises(DataError, match=r"t\.csv, column 'when': holds dates or times: .*weekday.*--drop when"):
        TableEncoder.fit(table(when=values))


def test_text_among_numbers_is_refused_with_its_row():
    values = [str(i) for i in range(50)]
    values[16] = "12o"
    with pytest.raises(DataError, match=r"column 'age', row 17: '12o' is not a number, as 49 of the column's 50"):
        TableEncoder.fit(table(age=values))
    assert len(TableEncoder.fit(table(age=values), categorical=("age",)).columns) == 1


def test_rows_are_those_of_the_file():
    values = [str(i) for i in range(50)]
    values[16] = "12o"
    with pytest.raises(DataError, match="row 117"):
        TableEncoder.fit(table(101, age=values))


def test_identifiers_are_refused_or_noted():
    with pytest.raises(DataError, match=r"column 'name': has 100 different values in 100 rows.*--drop name"):
        TableEncoder.fit(table(name=[f"n{i}" for i in range(100)]))
    encoder = TableEncoder.fit(table(id=range(100), a=[i % 7 for i in range(100)]))
    assert encoder.notes == ("column 'id' counts the rows: an identifier? Then use --drop id",)


def test_infinite_and_extreme_numbers_are_refused_with_their_row():
    with pytest.raises(DataError, match=r"column 'a', row 2: inf is not a finite number"):
        TableEncoder.fit(table(a=[1.0, float("inf")]))
    encoder = TableEncoder.fit(table(a=[1.0, 2.0]))
    with pytest.raises(DataError, match=r"row 2: -inf is not a finite number"):
        encoder.transform(table(a=[1.0, float("-inf")]))
    with pytest.raises(DataError, match=r"row 1: 1e\+300 is too far from the training rows"):
        encoder.transform(table(a=[1e300, 1.0]))


def test_columns_of_lists_are_refused():
    with pytest.raises(DataError, match=r"column 'a': is of type List\(Int64\)"):
        TableEncoder.fit(table(a=[[1], [2]]))


def test_text_in_a_column_of_numbers_is_refused_later():
    encoder = TableEncoder.fit(table(a=[1.0, 2.0]))
    assert encoder.transform(table(a=["1", "2"])).x.tolist() == [[-1], [1]]
    with pytest.raises(DataError, match=r"column 'a', row 2: 'x' is not a number"):
        encoder.transform(table(a=["1", "x"]))
    with pytest.raises(DataError, match=r"column 'a': is of type Date"):
        encoder.transform(table(a=[datetime.date(2024, 1, 1)]))


def test_missing_columns_are_named_and_further_ones_found():
    encoder = TableEncoder.fit(table(a=[1.0, 2.0], b=[1.0, 3.0], c=[0.0, 1.0]))
    with pytest.raises(DataError, match=r"t\.csv: lacks the columns 'a', 'c'"):
        encoder.transform(table(b=[1.0]))
    assert encoder.extra_columns(table(z=[1], a=[1], y=[2])) == ["z", "y"]


def test_codes_match_whatever_numbers_they_are_written_as():
    encoder = TableEncoder.fit(table(code=[1, 2, 3, 1]), categorical=("code",))
    for later in ([3], [3.0], ["3"]):
        assert encoder.transform(table(code=later)).x.tolist() == [[0, 0, 1]]


VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6))
WORDS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "é\n", "(other)"]))


@given(st.lists(st.tuples(VALUES, WORDS, st.booleans()), min_size=2, max_size=30))
def test_an_encoder_read_back_from_json_gives_the_same_bits(rows):
    a, b, c = zip(*rows)
    frame = pl.DataFrame(
        {"a": pl.Series(a, dtype=pl.Float64), "b": pl.Series(b, dtype=pl.String), "c": pl.Series(c), "d": range(len(a))}
    )
    data = Dataset("t.csv", frame, np.arange(1, len(a) + 1))
    encoder = TableEncoder.fit(data, max_levels=3)
    again = restored(encoder)
    assert again == encoder
    assert again.transform(data).x.tobytes() == encoder.transform(data).x.tobytes()


def images(pixels):
    pixels = np.asarray(pixels)
    return Dataset("i.npz", pixels, np.arange(1, len(pixels) + 1))


def test_pixels_are_divided_by_the_largest():
    encoder = ImageEncoder.fit(images(np.array([[[0, 8], [16, 4]]], np.uint8)))
    again = restored(encoder)
    assert again == encoder
    assert again.transform(images(np.array([[[16, 0], [0, 32]]], np.uint8))).x.tolist() == [[1, 0, 0, 2]]


def test_other_images_are_refused():
    encoder = ImageEncoder.fit(images(np.ones((2, 3, 4))))
    with pytest.raises(DataError, match=r"i\.npz: images of 2 x 2 pixels: the model was trained on 3 x 4"):
        encoder.transform(images(np.ones((1, 2, 2))))
    with pytest.raises(DataError, match="row 2: a pixel is not finite"):
        encoder.transform(images([np.ones((3, 4)), np.full((3, 4), np.nan)]))
    with pytest.raises(DataError, match="row 1: a pixel is not finite"):
        ImageEncoder.fit(images(np.full((2, 2, 2), np.inf)))
    with pytest.raises(DataError, match="every pixel is 0"):
        ImageEncoder.fit(images(np.zeros((2, 2, 2))))
    with pytest.raises(DataError, match="holds no images: the model was trained on images"):
        encoder.transform(table(a=[1.0]))
    with pytest.raises(DataError, match="holds images: the model was trained on a table"):
        TableEncoder.fit(table(a=[1.0, 2.0])).transform(images(np.ones((1, 2, 2))))
