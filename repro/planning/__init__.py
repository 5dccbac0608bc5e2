"""What would run, why and at what cost; the work orders that measuring executes. Imports no torch."""
