"""The contract of the floors for import-linter, in which the layer `rooms` is every room that the package has."""

from typing import Any

from importlinter.contracts.layers import LayersContract

from theorylab._names import rooms


class FloorsContract(LayersContract):
    """Layers; a new room is held to them unlisted."""

    type_name = "floors"

    def __init__(self, name: str, session_options: dict[str, Any], contract_options: dict[str, Any]) -> None:
        layers = [" | ".join(rooms()) if layer == "rooms" else layer for layer in contract_options["layers"]]
        super().__init__(name, session_options, contract_options | {"layers": layers})
