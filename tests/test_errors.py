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
