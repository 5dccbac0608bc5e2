"""What would run, why and at what cost; the work orders that measuring carries out. Imports no torch."""
