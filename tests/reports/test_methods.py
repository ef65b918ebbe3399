import pytest

from bids_brnn.estimators import estimators
from bids_brnn.reports.methods import Reference, citation_files, methods, training_words
from bids_brnn.signals import models


def test_a_reference_is_cited_in_words_and_for_latex():
    paper = Reference(
        "mrf", "Ma D, Gulani V et al", "Magnetic resonance fingerprinting", "Nature", 2013,
        "10.1038/nature11971", "495", "187-192",
    )  # fmt: skip
    assert paper.text == (
        "Ma D, Gulani V et al. Magnetic resonance fingerprinting. Nature 2013;495:187-192."
    )
    assert paper.bibtex == (
        "@article{mrf,\n"
        "  author = {Ma, D and Gulani, V and others},\n"
        "  title = {{Magnetic resonance fingerprinting}},\n"
        "  journal = {Nature},\n"
        "  year = {2013},\n"
        "  volume = {495},\n"
        "  pages = {187--192},\n"
        "  doi = {10.1038/nature11971}\n"
        "}\n"
    )


def test_a_preprint_has_neither_volume_nor_pages():
    preprint = Reference("brnn", "Mao A", "Networks", "arXiv 2312.11468", 2023, "10.1/2")
    assert preprint.text == "Mao A. Networks. arXiv 2312.11468 (2023)."
    assert "volume" not in preprint.bibtex


def test_every_reference_that_a_text_cites_is_known_and_complete():
    everything = [*models(), *estimators(), "rigid", "deepbet", "mppca", "degibbs"]
    paragraphs, references = methods(everything, [], "1.0")
    assert len(paragraphs) == len(everything) + 1
    for item in references:
        assert item.doi.startswith("10.")
        assert item.url.endswith(item.doi)
        names = item.bibtex.splitlines()[1]
        assert "{," not in names
        assert "et al" not in names
    texts = citation_files(everything, [], "1.0")
    assert texts["CITATION.bib"].count("@article{") == len(references)
    assert all(item.text in texts["CITATION.md"] for item in references)


def test_the_text_of_a_network_follows_its_loss():
    def told(*losses):
        paragraphs, references = methods(["fisp"], ["brnn", "dict"], "1.0", losses)
        (text,) = [item for item in paragraphs if "neural network" in item]
        return text, {item.key for item in references}

    text, cited = told({"name": "mse-crb"})
    assert "bias was not penalised by itself" in text
    assert {"brnn", "msecrb"} <= cited
    text, cited = told({"name": "bias-reduced", "weight": 1.0}, {"name": "bias-reduced"})
    assert "squared bias" in text
    assert "not penalised" not in text
    assert "msecrb" not in cited
    assert "It was trained with" not in told()[0]
    text, _ = told({"name": "mse-crb"}, {"name": "bias-reduced"})
    assert text.count("One of the networks was trained with") == 2


def test_every_publication_of_a_loss_is_known():
    losses = [{"name": name} for name in ("mse", "mse-crb", "bias-constrained", "efficient", "x")]
    references = methods([], ["brnn"], "1.0", losses)[1]
    assert {"brnn", "msecrb", "bce"} <= {item.key for item in references}


def test_a_network_that_was_made_of_one_for_any_protocol_is_not_said_to_be_trained_for_this():
    text = training_words(
        {"Name": "own", "MadeFrom": "any", "Protocols": 400, "Fingerprints": 120000,
         "MagneticFieldStrength": 1.5, "SquaredBiasOverBound": 0.01, "VarianceOverBound": 1.0}
    )  # fmt: skip
    assert 'was made of the network "any", which was trained on 120000' in text
    assert "of 400 random protocols" in text
    assert "of the protocol of this acquisition, of tissue as it is at 1.5 T" in text
    assert "for the signal of this acquisition" not in text


def test_budget_draws_and_subspace_of_a_training_are_told():
    about = {"Name": "own", "Preset": "quick", "Basis": "derivatives", "Coefficients": 7,
             "Fingerprints": 60000, "NoiseRealisations": 12_288_000}  # fmt: skip
    text = training_words(about)
    assert '"own" (preset quick) was trained for the signal of this acquisition, projected' in text
    assert "a subspace of 7 coefficients that was made of signals and their derivatives," in text
    assert "on 60000 simulated fingerprints, 12.3 million noise realisations," in text
    assert "projected" not in training_words({**about, "Basis": "images"})
    assert "in its subspace of 7 coefficients on" in training_words({**about, "Basis": "table"})
    strange = {**about, "Preset": ["quick"], "Basis": {}, "NoiseRealisations": "many"}
    assert training_words(strange).startswith('The network "own" was trained for the signal of')


@pytest.mark.parametrize("told", ["n/a", {}, {"SNR": 40}, {"SNR": 40, "Slopes": {"WM": "n/a"}},
                                  {"SNR": "n/a", "Slopes": {"WM": {"R1": 1.0}}}])  # fmt: skip
def test_a_slope_that_a_card_does_not_tell_is_left_out(told):
    text = training_words({"Name": "own", "Fingerprints": 100, "Sensitivity": told})
    assert text.endswith("on 100 simulated fingerprints.")


def test_a_network_that_was_found_unfit_is_not_praised_in_a_manuscript():
    text = training_words({"Name": "own", "Fingerprints": 100, "Shortcoming": "its bias is 9"})
    assert "does not pass the quality rule of the program (its bias is 9)" in text


def test_the_slope_stands_beside_bias_and_variance():
    slopes = {"WM": {"m0s": 0.991, "T2s": 0.95}, "lesion": {"m0s": 1.0, "T2s": "n/a"}}
    text = training_words(
        {"Name": "own", "SquaredBiasOverBound": 0.01, "VarianceOverBound": 1.0,
         "Sensitivity": {"SNR": 40.0, "Slopes": slopes}}
    )  # fmt: skip
    assert "squared bias is 0.01" in text
    assert "ratio of 40" in text
    assert text.endswith("of at least 0.95 in WM (T2s), 1.00 in lesion (m0s).")
