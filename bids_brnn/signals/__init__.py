"""Signal models: physics as functions of tissue parameters."""
