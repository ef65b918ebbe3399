"""Keys of a training configuration: what they mean, and what holds where they are absent.

Reader, documentation (``docs/training.md``) and templates (``brnn new-sequence``) ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

DEFAULTS: Mapping[str, Any] = {
    "basis_from": "derivatives",
    "basis_fingerprints": 400,
    "basis_seed": 2024,
    "off_resonance": 1.0,
    "fingerprints": 200_000,
    "held_out": 4096,
    "seed": 1,
}
"""Values of keys that are absent."""


class Keys(NamedTuple):
    """Keys that belong together."""

    names: tuple[str, ...]
    meaning: str
    default: str
    """In words; of keys of :data:`DEFAULTS` their values."""
    form: str = "{}"
    """How each is shown: as it is, as a table, or as a list of tables."""

    @property
    def shown(self) -> str:
        """The names as the documentation has them."""
        names = [f"`{self.form.format(name)}`" for name in self.names]
        if self.default == "one is needed":
            return f"{', '.join(names[:-1])} or {names[-1]}"
        return ", ".join(names)

    @property
    def fallback(self) -> str:
        """What holds where they are absent."""
        values = [DEFAULTS[name] for name in self.names if name in DEFAULTS]
        texts = [f"`{each}`" if isinstance(each, str) else f"{each:.9g}" for each in values]
        return ", ".join(texts) or self.default


KEYS = (
    Keys(("name", "description"), "of the model", "name of the file"),
    Keys(("model", "model_options"), "signal model and its options", "needed"),
    Keys(
        ("sidecar", "pulses", "zspectrum", "protocol", "train"),
        "JSON of the series; or the table `rfpulses.tsv`; or for a Z-spectrum the table "
        "`zspectrum.tsv` with its JSON beside it; or a protocol that `--train-missing` has kept; "
        "or one of our own (`hybrid-state`, `jiang`, `spgr`, `spgr-demo`)",
        "one is needed",
    ),
    Keys(
        ("preset",),
        "`quick`, `standard` or `thorough`: values of all keys below by budget, where they are "
        "not said; with it the program chooses a rank that is missing",
        "none; `quick` for Z-spectra",
    ),
    Keys(("basis",), "table of the basis", "that of the sidecar"),
    Keys(
        ("basis_from",),
        "without a table: `derivatives` (keeps bounds low, arXiv 2305.00326) or `signals`",
        "",
    ),
    Keys(("basis_fingerprints", "basis_seed"), "fingerprints that the basis is made from", ""),
    Keys(("rank",), "coefficients", "columns of the table"),
    Keys(("off_resonance",), "share of the pass band +-pi/TR that prior and basis cover", ""),
    Keys(
        ("prior",),
        "TOML of tissue classes (`bids_brnn.priors.Prior.from_toml`)",
        "the published ranges, at 3 T",
    ),
    Keys(
        ("field_strength",),
        "T: of the tissue of the prior, for the card; series of another field are not served",
        "that of the prior, else of the sidecar",
    ),
    Keys(
        ("tissue_at",),
        "T: the relaxation rates of the published ranges are taken at this field",
        "as they are, at 3 T",
    ),
    Keys(("fingerprints", "held_out", "seed"), "of the training set", ""),
    Keys(
        ("extra",),
        "`tissue`, `parameters`, `fingerprints`: more of one class of the prior, with other "
        "ranges for some parameters, to train with only",
        "none",
        "[[{}]]",
    ),
    Keys(
        ("errors",),
        "`width`, `blocks`, `steps`, `batch`, `learning_rate` of the network that learns the "
        "errors of the first one",
        "128, 2, 6000, 2048, 3e-3",
        "[{}]",
    ),
    Keys(
        ("focus",),
        "the same keys: fingerprints of the tissue that matters most, for stages with a `focus`",
        "none",
        "[[{}]]",
    ),
    Keys(
        ("network",),
        "`layout`, `width`, `blocks`, `normalisation`, `logarithmic` (outputs that are "
        "exponentials)",
        "residual, 256, 4, norm, none",
        "[{}]",
    ),
    Keys(
        ("surrogate",),
        "`width`, `blocks`, `steps`, `batch`, `learning_rate`; `harmonics` of off-resonance "
        "(balanced trains) that it is given",
        "128, 3, 4000, 1024, 2e-3; 24",
        "[{}]",
    ),
    Keys(
        ("training",),
        "`snr_range`, `snr_spacing` (linear, log), `precision` (bf16, float32; auto, the default: "
        "what the processor has arithmetic for), `averaging`, `conjugate`, `nuisance_weight`, "
        "`nuisance_floor`, `report_every`, `checkpoint_every`, `compile`, `seed`",
        "see `learning.config`",
        "[{}]",
    ),
    Keys(
        ("training.stages",),
        "`loss`, `steps`, `batch`, `realisations`, `learning_rate`, `decay`, `warmup`, "
        "`optimiser`, `clip`, `focus` (share of each batch out of `[[focus]]`)",
        "three stages",
        "[[{}]]",
    ),
)
"""All of them, in the order of the documentation."""
NAMES = frozenset(name for keys in KEYS for name in keys.names if "." not in name)
"""Keys at the top of a configuration."""
