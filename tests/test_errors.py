import pickle

from bids_brnn import errors


def test_error_keeps_its_sentence_and_code_across_processes():
    original = errors.DataError("TR is missing", exit_code=errors.EXIT_READ_ERROR)
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is errors.DataError
    assert str(copy) == "TR is missing"
    assert copy.exit_code == errors.EXIT_READ_ERROR


def test_each_kind_has_the_code_of_the_specification():
    codes = {
        errors.UsageError: 2,
        errors.InvalidBidsError: 16,
        errors.NothingSelectedError: 18,
        errors.DataError: 65,
        errors.NoSeriesError: 66,
        errors.OutputError: 73,
        errors.ReadError: 74,
        errors.TemporaryError: 75,
    }
    assert {kind: kind("x").exit_code for kind in codes} == codes


def test_names_that_are_not_known_come_with_what_was_meant():
    from bids_brnn.errors import did_you_mean, nearest, unknown_names

    assert nearest("Flip-Angle", ["onset", "flip_angle"]) == "flip_angle"
    assert did_you_mean("zebra", ["onset", "flip_angle"]) == ""
    words = unknown_names("my.toml", "key", ["rnak", "x"], ["rank", "seed"])
    assert words == 'my.toml: unknown key rnak, x; known are rank, seed; did you mean "rank"?'
    assert unknown_names("", "column", ["x"], ["rank"]) == "unknown column x; known are rank"
