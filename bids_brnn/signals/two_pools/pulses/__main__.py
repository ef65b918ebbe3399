"""Solve the series of the super-Lorentzian line anew and store them in the package."""

import torch

from bids_brnn.signals.two_pools.pulses.averages import SOLID, solid_series
from bids_brnn.signals.two_pools.pulses.lineshapes import SUPER_LORENTZIAN
from bids_brnn.signals.two_pools.pulses.saturation import SATURATION, SaturationTable
from bids_brnn.signals.two_pools.pulses.stored import PATH
from bids_brnn.tensor_files import write_tensors

if __name__ == "__main__":
    table = SaturationTable.build(SUPER_LORENTZIAN)
    series = {
        f"{SATURATION}.z": table.z_series,
        f"{SATURATION}.rho": table.rho_series,
        **{f"{SOLID}.{name}": values for name, values in solid_series(table).items()},
    }
    write_tensors(PATH, {name: torch.from_numpy(values) for name, values in series.items()}, {})
